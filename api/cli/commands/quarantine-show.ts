import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { facts, type Row, showOne } from '../render.ts';
import { QUARANTINE } from '../shapes.ts';
import { oneLine, plainText } from '../text.ts';
import type { Format } from '../values.ts';

/** What a person is shown of a line; -o json and --raw have all of it. */
const SHOWN_BYTES = 4 * 1024;

export default async function quarantineShow(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const line = await client.get<Row>(`/v1/quarantine/${encodeURIComponent(args[0] ?? '')}`);
  const raw = Buffer.from(String(line.rawBase64), 'base64');
  if (options.raw === true) {
    // Escape sequences of a stranger are for files and pipes, never for a terminal.
    await io.out(io.stdoutIsTerminal ? `${plainText(raw.toString('utf8'))}\n` : raw);
    return EXIT.ok;
  }
  await showOne(io, options.output as Format, QUARANTINE, line, lineText(line, raw));
  return EXIT.ok;
}

function lineText(line: Row, raw: Buffer): string {
  const shown = raw.subarray(0, SHOWN_BYTES);
  const rest = Number(line.size) - shown.length;
  const end = rest <= 0 ? '' : line.cut === true ? `… ${rest} more bytes, which were not kept` : `… ${rest} more bytes`;
  return `${facts([
    ['id', line.id],
    ['state', line.state],
    ['reason', line.reason],
    ['field', line.field === '' ? undefined : line.field],
    ['problem', line.problem],
    ['at byte', line.position],
    ['topic', line.topic],
    ['partition', line.partition],
    ['offset', line.offset],
    ['line', line.line],
    ['producer', line.producer],
    ['suite', line.suite],
    ['size', line.size],
    ['sha256', line.sha256],
    ['set aside', line.createdAt],
    ['trace', line.traceId],
    ['waits for', line.awaits],
    ['redriven', line.redrivenAt],
    ['redriven by', line.redrivenBy],
    ['set aside again', line.redrivenAs],
    ['redrive of', line.redriveOf],
  ])}\n${oneLine(shown.toString('utf8'))}${end}\n`;
}
