import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { parseJson } from '../../../core/json.ts';
import { MAX_LINE_BYTES } from '../../../core/ndjson.ts';
import { type Refusal, RefusedInput } from '../../../core/refusal.ts';
import { type Client, connect, problemError } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { checkReports, openReports } from '../report-files.ts';
import { safeJson } from '../text.ts';

/** Sent at a time: what has to be sent again where one breaks off. A line of 1 MiB fits. */
const PIECE_BYTES = 2 * MAX_LINE_BYTES;
const NEWLINE = 0x0a;
const zip = promisify(gzip);

interface Taken {
  readonly messages: number;
  readonly lines: number;
  readonly bytes: number;
  readonly backlog?: { readonly messages: number; readonly ageSeconds: number };
}

/** Hands files over piece by piece, each until it is durable, for as long as the server asks to wait. */
export default async function reportsSend(invocation: Invocation): Promise<number> {
  const { options, io, signal } = invocation;
  const named = options.reports as readonly string[];
  const paths = named.map((path) => (path === '-' ? path : resolve(io.cwd, path)));
  const refusals: Refusal[] = [];
  await checkReports(paths, refusals);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const client = await connect(invocation);
  const sent = { lines: 0, messages: 0, bytes: 0, backlog: { messages: 0, ageSeconds: 0 } };
  try {
    let files = 0;
    for (const file of openReports(paths, io.stdin, signal)) {
      for await (const piece of pieces(file, named[files++]!)) {
        const taken = await sendPiece(client, piece, (ms) =>
          io.note(`the server is busy and asks to wait ${Math.ceil(ms / 1000)} s; ${sent.lines} lines were taken`),
        );
        sent.lines += taken.lines;
        sent.messages += taken.messages;
        sent.bytes += taken.bytes;
        sent.backlog = taken.backlog ?? sent.backlog;
      }
    }
  } catch (error) {
    if (sent.lines > 0)
      io.note(`${sent.lines} lines were taken and count; send all of it again: what is known counts as duplicates`);
    throw error;
  }
  const text = `${sent.lines} lines taken; ${sent.backlog.messages} messages wait to be read`;
  const json = options.output === 'json' || options.output === 'yaml';
  await io.out(`${json ? safeJson(sent) : text}\n`);
  return sent.lines > 0 ? EXIT.ok : EXIT.incomplete;
}

async function sendPiece(client: Client, piece: Buffer, onWait: (ms: number) => void): Promise<Taken> {
  const reply = await client.request('POST', '/v1/eval-reports:batch', {
    raw: { type: 'application/x-ndjson', bytes: await zip(piece) },
    headers: { 'content-encoding': 'gzip' },
    waits: Number.POSITIVE_INFINITY,
    onWait,
  });
  const reading = parseJson(reply.bytes);
  if (reply.status !== 202) throw problemError(reply.status, reading.ok ? reading.value : undefined);
  return (reading.ok ? reading.value : { messages: 0, lines: 0, bytes: 0 }) as unknown as Taken;
}

/** Whole lines, about PIECE_BYTES of them at a time. Throws CliError where one is longer than Merit takes. */
async function* pieces(file: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Buffer> {
  let held: Buffer = Buffer.alloc(0);
  let lines = 0;
  for await (const chunk of file) {
    held = Buffer.concat([held, chunk]);
    while (held.length > PIECE_BYTES) {
      const end = held.lastIndexOf(NEWLINE, PIECE_BYTES - 1) + 1;
      if (end === 0)
        throw new CliError(EXIT.badValue, 'too_large', `${nameOf(path)}, line ${lines + 1}: is longer than 1 MiB`, {
          mend: 'a report is one line of at most 1 MiB; is this NDJSON?',
        });
      yield held.subarray(0, end);
      lines += linesIn(held.subarray(0, end));
      held = Buffer.from(held.subarray(end));
    }
  }
  if (held.length > 0) yield held;
}

function nameOf(path: string): string {
  return path === '-' ? 'stdin' : JSON.stringify(path);
}

function linesIn(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}
