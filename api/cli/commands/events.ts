import { connect } from '../client.ts';
import { followEvents, type ReceivedEvent } from '../event-stream.ts';
import { EXIT } from '../exit.ts';
import { eventHint } from '../hints.ts';
import type { Invocation } from '../invocation.ts';
import type { Row } from '../render.ts';
import { oneLine, safeJson } from '../text.ts';
import type { Format } from '../values.ts';

/** What happens, as it happens, until it is interrupted or --count are shown. */
export default async function events(invocation: Invocation): Promise<number> {
  const { options, io, signal } = invocation;
  const query = new URLSearchParams();
  for (const name of ['suite', 'type']) if (options[name] !== undefined) query.set(name, String(options[name]));
  const path = `/v1/events${query.size === 0 ? '' : `?${query}`}`;
  const format = options.output as Format;
  const count = (options.count as number | undefined) ?? Number.POSITIVE_INFINITY;
  const client = await connect(invocation);
  let shown = 0;
  if (format === 'table' || format === 'wide') await io.out(lineOf(HEAD, format));
  for await (const event of followEvents(client, io, path, options.after as string | undefined, signal)) {
    await io.out(await eventText(event, format));
    if (++shown >= count) break;
  }
  return EXIT.ok;
}

async function eventText(event: ReceivedEvent, format: Format): Promise<string> {
  switch (format) {
    // A line an event, so that a reader need not wait for the end of a list.
    case 'json':
      return `${safeJson(event, 0)}\n`;
    case 'yaml': {
      const { stringifyYaml } = await import('../../../platform/yaml.ts');
      return `---\n${stringifyYaml(JSON.parse(safeJson(event)))}`;
    }
    case 'name':
      return `${oneLine(event.id)}\n`;
    case 'table':
    case 'wide':
      return lineOf(cellsOf(event), format);
  }
}

interface Cells {
  readonly at: string;
  readonly type: string;
  readonly subject: string;
  readonly what: string;
  readonly id: string;
}

const HEAD: Cells = { at: 'AT', type: 'TYPE', subject: 'SUBJECT', what: 'WHAT', id: 'ID' };
/** Lines are written as they come, so the widths are given; a longer cell pushes the rest of its line. */
const WIDTHS = { at: 24, type: 18, subject: 34, id: 20 } as const;

function lineOf(cells: Cells, format: 'table' | 'wide'): string {
  const columns = format === 'wide' ? (['at', 'type', 'subject', 'id'] as const) : (['at', 'type', 'subject'] as const);
  return `${columns.map((name) => oneLine(cells[name]).padEnd(WIDTHS[name])).join('  ')}  ${oneLine(cells.what)}\n`;
}

function cellsOf({ id, type, data }: ReceivedEvent): Cells {
  const isTick = type === 'score.tick';
  return {
    at: String(data.at ?? ''),
    type,
    subject: isTick ? `suite/${String(data.suite)}` : String(data.subject ?? ''),
    what: isTick ? tickText(data) : eventHint(data.data),
    id,
  };
}

function tickText({ tick, models, revised }: Row): string {
  return `tick ${String(tick)}: ${String(models)} model${models === 1 ? '' : 's'}${revised === true ? ', changed by late data' : ''}`;
}
