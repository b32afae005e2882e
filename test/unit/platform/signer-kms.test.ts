import { createHash, verify } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { p256KeyId, p256Point } from '../../../core/p256.ts';
import { openKmsSigner } from '../../../platform/signer-kms.ts';
import { type KmsAnswer, type KmsServer, kmsServer } from '../../support/kms-server.ts';

let kms: KmsServer;
beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAEXAMPLE');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'its secret');
  kms = await kmsServer();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await kms.close();
});

const open = (timeoutMs?: number) =>
  openKmsSigner(
    { key: 'alias/merit-audit', region: 'us-east-1', endpoint: kms.url, profile: undefined },
    timeoutMs === undefined ? {} : { timeoutMs },
  );
const failing = async (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error);

describe('a key of KMS', () => {
  test('has the name of its point, signs messages whole, and asks for the key itself, whatever its alias names by then', async () => {
    const signer = await open();
    const point = p256Point(kms.publicKey.export({ format: 'der', type: 'spki' }))!;
    expect(signer).toMatchObject({ algorithm: 'ecdsa-p256-sha256', keyId: p256KeyId(point), publicKey: point });
    const message = Buffer.from('merit/audit\n1\n');
    const signature = await signer.sign(message);
    expect(verify('sha256', message, { key: kms.publicKey, dsaEncoding: 'der' }, signature)).toBe(true);
    expect(kms.asked.map(({ verb }) => verb)).toEqual(['GetPublicKey', 'Sign']);
    expect(kms.asked[0]!.input).toEqual({ KeyId: 'alias/merit-audit' });
    expect(kms.asked[1]!.input).toEqual({
      KeyId: expect.stringMatching(/^arn:aws:kms:.*:key\//),
      Message: message.toString('base64'),
      MessageType: 'RAW',
      SigningAlgorithm: 'ECDSA_SHA_256',
    });
  });

  test('is given the SHA-256 of a message that is longer than KMS takes, and its signature is of the message', async () => {
    const signer = await open();
    const [whole, longer] = [Buffer.alloc(4_096, 'a'), Buffer.alloc(4_097, 'a')];
    (kms as KmsServer & { know(message: Buffer): void }).know(longer);
    await signer.sign(whole);
    const signature = await signer.sign(longer);
    expect(verify('sha256', longer, { key: kms.publicKey, dsaEncoding: 'der' }, signature)).toBe(true);
    expect(kms.asked.slice(1).map(({ input }) => input.MessageType)).toEqual(['RAW', 'DIGEST']);
    expect(kms.asked[2]!.input.Message).toBe(createHash('sha256').update(longer).digest('base64'));
  });

  test('that answers with another key’s signature is not believed (P49)', async () => {
    const signer = await open();
    kms.wrongKey = true;
    expect(await failing(signer.sign(Buffer.from('x')))).toMatchObject({ code: 'bad-reply', retry: 'safe' });
  });

  test.each([
    { KeyUsage: 'KEY_AGREEMENT' },
    { KeyUsage: 'ENCRYPT_DECRYPT' },
    { KeyUsage: undefined },
    { PublicKey: Buffer.from('no key').toString('base64') },
  ])('of another kind is refused when it is opened (G47): %j', async (facts) => {
    Object.assign(kms.facts, facts);
    expect(await failing(open())).toMatchObject({
      code: 'part-missing',
      mend: expect.stringContaining('ECC_NIST_P256'),
    });
  });

  test.each(['P-384', 'secp256k1'])('of the curve %s is refused though KMS calls it P-256', async (curve) => {
    await kms.close();
    kms = await kmsServer(curve);
    expect(await failing(open())).toMatchObject({ code: 'part-missing' });
  });
});

describe('what is no signature of what was asked for is refused, and may be asked for again (P48)', () => {
  /** Of other bytes, by the right key. */
  const ofOther = async (): Promise<string> => {
    const signer = await open();
    return Buffer.from(await signer.sign(Buffer.from('other'))).toString('base64');
  };
  const reply = (body: object | string) => ({
    status: 200,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

  test.each([
    ['none at all', async () => ({ KeyId: 'k' })],
    ['an empty one', async () => ({ Signature: '' })],
    ['of other bytes', async () => ({ Signature: await ofOther() })],
    ['one that was cut', async () => ({ Signature: (await ofOther()).slice(0, 40) })],
    ['zeros', async () => ({ Signature: Buffer.alloc(70).toString('base64') })],
    ['in no base64', async () => ({ Signature: '%%%' })],
    ['a number', async () => ({ Signature: 7 })],
    ['a page of a proxy', async () => '<html>sign in</html>'],
    ['JSON that was cut', async () => '{"Signature":"MEUC'],
    ['nothing', async () => ''],
    ['a list', async () => '[]'],
  ])('%s', async (_what, body) => {
    const told = reply(await body());
    const signer = await open();
    kms.answer = () => told;
    const error = await failing(signer.sign(Buffer.from('x')));
    expect(error).toMatchObject({ name: 'OperatingError', retry: 'safe' });
    expect(['bad-reply', 'unreachable']).toContain((error as { code: string }).code);
    kms.answer = () => 'well';
    expect((await signer.sign(Buffer.from('x'))).length).toBeGreaterThan(60);
  });

  test.each(['<html>sign in</html>', '{"PublicKey":"MEUC', '', '[]', '{"PublicKey":7}', '{}'])(
    'nor is %j a key',
    async (body) => {
      kms.answer = () => ({ status: 200, body });
      expect(await failing(open())).toMatchObject({ name: 'OperatingError' });
    },
  );

  test('a key that is disabled opens no signer (G47)', async () => {
    kms.answer = () => ({ status: 400, name: 'DisabledException' });
    expect(await failing(open())).toMatchObject({ code: 'auth', mend: expect.stringContaining('enable the key') });
  });
});

describe('a fault of KMS is told with what to do', () => {
  test.each([
    [400, 'AccessDeniedException', 'auth', /kms:Sign/],
    [400, 'DisabledException', 'auth', /enable the key/],
    [400, 'KMSInvalidStateException', 'auth', /deleted/],
    [400, 'NotFoundException', 'not-found', /signer\.kms\.key/],
    [400, 'InvalidKeyUsageException', 'part-missing', /ECC_NIST_P256/],
    [400, 'UnrecognizedClientException', 'auth', /access key/],
    [400, 'ExpiredTokenException', 'auth', /renew/],
    [403, 'SomethingNew', 'auth', /kms:Sign/],
    [404, 'SomethingElse', 'bad-reply', /endpoint/],
  ])('%i %s', async (status, name, code, mend) => {
    const signer = await open();
    kms.answer = () => ({ status, name });
    const error = await failing(signer.sign(Buffer.from('x')));
    expect(error).toMatchObject({ code, retry: 'safe', mend: expect.stringMatching(mend) });
    expect(String(error)).not.toContain('AKIAEXAMPLE');
    // What does not mend itself is not asked again.
    expect(kms.asked).toHaveLength(2);
  });

  test.each([
    [400, 'ThrottlingException', 'capacity'],
    [500, 'KMSInternalException', 'unreachable'],
    [500, 'KeyUnavailableException', 'unreachable'],
  ])('%i %s is tried three times (P50)', async (status, name, code) => {
    const signer = await open();
    kms.answer = () => ({ status, name });
    expect(await failing(signer.sign(Buffer.from('x')))).toMatchObject({ code });
    expect(kms.asked).toHaveLength(4);
  });

  test('one that is gone at the second try is never told', async () => {
    const signer = await open();
    kms.answer = (call) => (call === 2 ? { status: 400, name: 'ThrottlingException' } : 'well');
    expect((await signer.sign(Buffer.from('x'))).length).toBeGreaterThan(60);
  });

  test('an answer that does not come is waited for so long and no longer, however often it is tried', async () => {
    const signer = await open(300);
    const never: KmsAnswer = 'never';
    kms.answer = () => never;
    const startedAt = performance.now();
    expect(await failing(signer.sign(Buffer.from('x')))).toMatchObject({
      code: 'timeout',
      mend: expect.stringMatching(/network/),
    });
    expect(performance.now() - startedAt).toBeGreaterThan(290);
    await kms.close();
    kms = await kmsServer();
    kms.answer = () => never;
    expect(await failing(open(300))).toMatchObject({ code: 'timeout' });
  });

  test('nobody there', async () => {
    const signer = await open();
    await kms.close();
    expect(await failing(signer.sign(Buffer.from('x')))).toMatchObject({
      code: 'unreachable',
      mend: expect.stringMatching(/endpoint/),
    });
    kms = await kmsServer();
  });
});
