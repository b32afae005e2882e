import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { rootsText } from '../../../../ledger/audit/roots.ts';
import type { Signer } from '../../../../platform/signer.ts';
import { bundleFile, receiptFile } from '../../../support/audit-files.ts';
import { p256Signer, retrainStory, rootsOf, testSigner } from '../../../support/audit-story.ts';

/** The steps of docs/audit.md, word by word. */
const page = readFileSync(new URL('../../../../docs/audit.md', import.meta.url), 'utf8');
const [, section = ''] = page.split('## A checkpoint with OpenSSL alone');
const [taking = '', id = '', ed25519 = '', p256 = ''] = [...section.matchAll(/```sh\n([\s\S]*?)```/g)].map(
  ([, text]) => text ?? '',
);

const has = spawnSync('openssl', ['version']).stdout?.toString().startsWith('OpenSSL 3') === true;

describe.skipIf(!has)('a checkpoint is checked with OpenSSL 3 alone (skipped without: apt-get install openssl)', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'merit-openssl-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const run = (script: string) => spawnSync('sh', ['-ec', script], { cwd: folder, encoding: 'utf8' });
  const write = (file: string, ...pinned: readonly Signer[]) => {
    writeFileSync(join(folder, 'chain.jsonl'), file);
    writeFileSync(join(folder, 'roots.json'), rootsText([...rootsOf(...pinned).keys.values()]));
  };

  test.each([
    ['Ed25519', testSigner, ed25519, 'Signature Verified Successfully'],
    ['P-256', p256Signer, p256, 'Verified OK'],
  ] as const)('signed with %s, of a chain and of a receipt', async (_, make, steps, well) => {
    const [signer, other] = [make(), make()];
    const story = await retrainStory(signer);
    for (const file of [await bundleFile(story, signer), await receiptFile(story, signer)]) {
      write(file, other, signer);
      const said = run(taking + steps);
      expect(said.stdout + said.stderr).toContain(well);
      expect(said.status).toBe(0);
      expect(run(id).stdout.trim()).toBe(signer.keyId.split(':')[1]);
      expect(readFileSync(join(folder, 'body'), 'utf8')).toContain(`key ${signer.keyId}\n`);
      // One event more is claimed; and then, another key under that id.
      write(
        file.replace(/\\n(\d+)\\n/, (_, size: string) => `\\n${Number(size) + 1}\\n`),
        signer,
      );
      expect(run(taking + steps).status).not.toBe(0);
      write(file, signer);
      expect(run(taking + steps).status).toBe(0);
      writeFileSync(join(folder, 'key'), other.publicKey);
      expect(run(steps).status).not.toBe(0);
    }
  });

  test('by a key that is not pinned there is nothing to check with', async () => {
    const signer = testSigner();
    write(await bundleFile(await retrainStory(signer), signer), testSigner());
    expect(run(taking + ed25519).status).not.toBe(0);
  });
});
