import { resolve } from 'node:path';
import { parseStatement, rejectionOf, type Statement, statementBytes, statementHash } from '../../../core/approval.ts';
import { isJsonObject, parseJson } from '../../../core/json.ts';
import { openPersonalKey, type PersonalKey } from '../../../platform/personal-key.ts';
import { readSecretFile } from '../../../platform/secret-file.ts';
import type { Client } from '../client.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import { readInputFile, writeOutputFile } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { contentWords, requireBound, type Shown, statementDiff, wordsOf } from './words.ts';

/** Signing happens here and nowhere else: the key is opened, what is signed is shown, and only the signature is sent. */

/** A clock that is off by more signs what has expired, or is not yet. */
const MAX_SKEW_MS = 5 * 60_000;
const MAX_SIGNATURE_FILE_BYTES = 16 * 1024;
const SIGNATURE_FORMAT = 'merit-signature/1';

export interface Given {
  readonly keyId: string;
  readonly signature: string;
  /** What was signed. */
  readonly statement: Statement;
}

/** The key that `--key`, or MERIT_SIGNER_KEY, names. */
async function keyIn({ options, io }: Pick<Invocation, 'options' | 'io'>): Promise<PersonalKey> {
  const path = options.key ?? io.env.MERIT_SIGNER_KEY;
  if (path === undefined || path === '')
    throw usage('no key is named', 'add --key FILE, or set MERIT_SIGNER_KEY; `merit signer new` makes one');
  return openPersonalKey(resolve(io.cwd, String(path)), await passphraseIn({ options, io }));
}

export async function passphraseIn({ options, io }: Pick<Invocation, 'options' | 'io'>) {
  const { passphraseFile } = options;
  return passphraseFile === undefined
    ? undefined
    : readSecretFile(resolve(io.cwd, String(passphraseFile)), '--passphrase-file');
}

export function requireSameClock(shown: Shown, nowMs: number): void {
  const skewMs = nowMs - Date.parse(shown.now);
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return;
  const minutes = Math.round(Math.abs(skewMs) / 60_000);
  throw new CliError(
    EXIT.auth,
    'clock_skew',
    `this clock is ${minutes} minutes ${skewMs > 0 ? 'ahead of' : 'behind'} the server’s`,
    {
      mend: 'set it right: what is signed holds until a time',
    },
  );
}

/** The statement of a proposal in a file, for a key that is elsewhere; what happens next is told. */
async function exportStatement(invocation: Invocation, statement: Statement): Promise<number> {
  const { io, options } = invocation;
  const out = String(options.out);
  await writeOutputFile(io, out, statementBytes(statement));
  if (out !== '-')
    io.note(
      `wrote the statement; sign it where the key is: merit signer sign ${out} --key FILE --out ${out}.sig; then again here with --signature ${out}.sig`,
    );
  return EXIT.ok;
}

/** What is sent of a signature that was made elsewhere. */
async function importSignature({ io, options }: Invocation, current: Statement): Promise<Given> {
  const path = String(options.signature);
  const bytes = await readInputFile(io, path, MAX_SIGNATURE_FILE_BYTES);
  const refused = (problem: string, mend: string) =>
    new CliError(EXIT.badValue, 'signature', `${JSON.stringify(path)} ${problem}`, { mend });
  if (bytes.length === 64) {
    if (options.keyId === undefined) throw usage('a bare signature does not say whose it is', 'add --key-id ed25519:…');
    return { keyId: String(options.keyId), signature: bytes.toString('base64'), statement: current };
  }
  const reading = parseJson(bytes);
  const mend = 'use the file that `merit signer sign` wrote, or the 64 bytes that openssl did';
  if (!reading.ok || !isJsonObject(reading.value)) throw refused('is no signature file', mend);
  const { format, keyId, signature, statement } = reading.value;
  if (
    format !== SIGNATURE_FORMAT ||
    typeof keyId !== 'string' ||
    typeof signature !== 'string' ||
    typeof statement !== 'string'
  )
    throw refused(`is not ${SIGNATURE_FORMAT}`, mend);
  const read = parseStatement(Buffer.from(statement, 'utf8'));
  if (!read.ok) throw refused(`holds ${read.refusal.problem}`, mend);
  if (statementHash(read.statement) !== statementHash(current)) throw changed(read.statement, current);
  return { keyId, signature, statement: read.statement };
}

export function signatureFile(statement: Statement, key: PersonalKey): string {
  const bytes = statementBytes(statement);
  return `${JSON.stringify({
    format: SIGNATURE_FORMAT,
    keyId: key.keyId,
    signature: Buffer.from(key.sign(bytes)).toString('base64'),
    statement: bytes.toString('utf8'),
  })}\n`;
}

function noteWords({ io }: Invocation, statement: Statement, shown: Shown | undefined): void {
  const words = wordsOf(statement, shown === undefined ? [] : contentWords(shown));
  for (const line of words.trimEnd().split('\n')) io.note(line);
}

/**
 * The key at hand, once it is agreed that it signs what is shown. undefined: it was not. `shown`: what the statement is about; without it only its hash is known
 * here.
 */
export async function agreedKey(
  invocation: Invocation,
  statement: Statement,
  shown: Shown | undefined,
): Promise<PersonalKey | undefined> {
  const { io, options, signal } = invocation;
  if (options.yes !== true && !(io.stdinIsTerminal && io.stderrIsTerminal))
    throw usage('a signature is for good, and there is no terminal to ask on', 'add --yes');
  const key = await keyIn(invocation);
  noteWords(invocation, statement, shown);
  if (shown === undefined) io.note('what it is about is bound by its hash: compare with who showed you the whole');
  io.note(`with key ${key.keyId}`);
  if (options.yes === true || (await io.confirm('Sign this?', signal))) return key;
  io.note('nothing was signed');
  return undefined;
}

function changed(was: Statement, is: Statement): CliError {
  return new CliError(
    EXIT.conflict,
    'statement_changed',
    `what was signed is not what is proposed now:\n${statementDiff(was, is)}`,
    {
      mend: 'read it again, and sign that',
    },
  );
}

async function signHere(invocation: Invocation, shown: Shown, statement: Statement): Promise<Given | undefined> {
  const key = await agreedKey(invocation, statement, shown);
  if (key === undefined) return undefined;
  const signature = Buffer.from(key.sign(statementBytes(statement))).toString('base64');
  return { keyId: key.keyId, signature, statement };
}

/** As asked for: writes the statement, or sends a signature that is made here or was made elsewhere. The proposal afterwards; undefined: nothing was sent. */
export async function signShown(
  invocation: Invocation,
  client: Client,
  shown: Shown,
  verdict: Statement['verdict'],
  path: string,
): Promise<(Shown & { readonly already: boolean }) | 'written' | undefined> {
  const { options, io } = invocation;
  requireSameClock(shown, Date.now());
  requireBound(shown);
  const statement = verdict === 'approve' ? shown.statement : rejectionOf(shown.statement);
  if (options.out !== undefined) {
    noteWords(invocation, statement, shown);
    await exportStatement(invocation, statement);
    return 'written';
  }
  const given =
    options.signature === undefined
      ? await signHere(invocation, shown, statement)
      : await importSignature(invocation, statement);
  if (given === undefined) return undefined;
  const { keyId, signature } = given;
  const body = { statementHash: statementHash(given.statement), keyId, signature };
  const signed = await client
    .json<Shown & { readonly already: boolean }>('POST', path, { body })
    .catch(async (error: unknown) => {
      if (!(error instanceof CliError) || error.code !== 'statement_changed') throw error;
      const now = await client.get<Shown>(`/v1/proposals/${shown.id}`);
      throw changed(given.statement, verdict === 'approve' ? now.statement : rejectionOf(now.statement));
    });
  if (signed.already) io.note('already_approved: it was signed by this person before, and nothing changed');
  return signed;
}
