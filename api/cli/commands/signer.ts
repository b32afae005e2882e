import { resolve } from 'node:path';
import { parseStatement } from '../../../core/approval.ts';
import { RefusedInput } from '../../../core/refusal.ts';
import { makePersonalKey, openPersonalKey, type PersonalKey } from '../../../platform/personal-key.ts';
import { EXIT } from '../exit.ts';
import { readInputFile, writeOutputFile } from '../files.ts';
import type { CommandModule } from '../invocation.ts';
import { facts, type Row, type Shape, showOne } from '../render.ts';
import { agreedKey, passphraseIn, signatureFile } from '../signing/sign.ts';
import type { Format } from '../values.ts';

/** Keys of people, on the machine where they are: no server is asked. */

const KEYS: Shape = {
  name: (row) => String(row.keyId),
  columns: [
    { head: 'KEY', cell: (row) => row.keyId },
    { head: 'PUBLIC KEY', cell: (row) => row.publicKey },
    { head: 'FILE', cell: (row) => row.file },
  ],
};

function keyRow(file: string, { keyId, publicKey }: PersonalKey): Row {
  return { keyId, publicKey: Buffer.from(publicKey).toString('base64'), file };
}

function keyText(row: Row): string {
  return facts([
    ['key', row.keyId],
    ['public key', row.publicKey],
    ['file', row.file],
  ]);
}

export const make: CommandModule = {
  default: async ({ args, options, io }) => {
    const file = resolve(io.cwd, args[0] ?? '');
    const key = keyRow(file, await makePersonalKey(file, await passphraseIn({ options, io })));
    io.note('the private key stays in this file; give the public key to whoever keeps the SigningPolicy');
    await showOne(io, options.output as Format, KEYS, key, keyText(key));
    return EXIT.ok;
  },
};

export const show: CommandModule = {
  default: async ({ args, options, io }) => {
    const file = resolve(io.cwd, args[0] ?? '');
    const key = keyRow(file, await openPersonalKey(file, await passphraseIn({ options, io })));
    await showOne(io, options.output as Format, KEYS, key, keyText(key));
    return EXIT.ok;
  },
};

/** Signs a statement that was written elsewhere. */
export const sign: CommandModule = {
  default: async (invocation) => {
    const { args, options, io } = invocation;
    const read = parseStatement(await readInputFile(io, args[0] ?? ''));
    if (!read.ok) throw new RefusedInput([read.refusal]);
    const key = await agreedKey(invocation, read.statement, undefined);
    if (key === undefined) return EXIT.ok;
    await writeOutputFile(io, String(options.out), Buffer.from(signatureFile(read.statement, key)));
    return EXIT.ok;
  },
};
