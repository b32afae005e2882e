import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Credentials } from '../../../../providers/vertex/credentials.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-vertex-keys-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as { code: string; message: string },
  );

async function headersWith(text: string): Promise<unknown> {
  const path = join(folder, 'credentials.json');
  await writeFile(path, text);
  return failureOf(new Credentials(path).headers());
}

test('a file that is none, and one that would run a command, are refused without a word of what they hold', async () => {
  const secret = 'AIza-not-to-be-told';
  for (const text of [
    `{"private_key": "${secret}`,
    JSON.stringify({ type: 'authorized_user', client_secret: secret }),
    JSON.stringify({ type: 'service_account', client_email: 'a@b.iam.gserviceaccount.com', key: secret }),
    JSON.stringify({ type: 'external_account', credential_source: { executable: { command: `echo ${secret}` } } }),
  ]) {
    const refused = (await headersWith(text)) as { code: string; message: string };
    expect(refused).toMatchObject({ code: 'auth', message: expect.stringContaining('neither the key') });
    expect(refused.message).not.toContain(secret);
  }
  expect(await failureOf(new Credentials(join(folder, 'none')).headers())).toMatchObject({
    code: 'auth',
    message: expect.stringContaining('there is no such file'),
  });
});

test('the key of a service account signs, and a broken one is told without itself', async () => {
  const key = (private_key: string) =>
    JSON.stringify({ type: 'service_account', client_email: 'm@p.iam.gserviceaccount.com', private_key });
  const broken = (await headersWith(key('-----BEGIN PRIVATE KEY-----\nMIIsecret\n-----END PRIVATE KEY-----\n'))) as {
    code: string;
    message: string;
  };
  expect(broken.code).toBe('auth');
  expect(broken.message).not.toContain('MIIsecret');
  // With a good one the library goes to Google for a token: how that ends says that it signed.
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const sent: string[] = [];
  const google = async (url: unknown) => {
    sent.push(String(url));
    return new Response(JSON.stringify({ access_token: 't-1', expires_in: 3600, token_type: 'Bearer' }), {
      headers: { 'content-type': 'application/json' },
    });
  };
  const path = join(folder, 'key.json');
  await writeFile(path, key(String(privateKey.export({ type: 'pkcs8', format: 'pem' }))));
  const credentials = new Credentials(path, google as typeof fetch);
  expect(await credentials.headers()).toMatchObject({ authorization: 'Bearer t-1' });
  await credentials.headers();
  expect(sent).toEqual(['https://oauth2.googleapis.com/token']);
});
