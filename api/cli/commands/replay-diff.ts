import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { facts, type Row, showOne, table } from '../render.ts';
import { replayPath } from '../replay.ts';
import { REPLAY } from '../shapes.ts';
import type { Format } from '../values.ts';

/** What differs from what was live, and why. Exits 0 whatever differs, 11 where the replay has not come to its end. */
export default async function replayDiff(invocation: Invocation): Promise<number> {
  const { args, io, options } = invocation;
  const client = await connect(invocation);
  const row = await client.get<Row>(`${replayPath(args[0])}/diff`);
  if (row.diff === null)
    throw new CliError(EXIT.incomplete, 'unfinished', `the replay is ${String(row.state)}`, {
      mend: `see merit replay status ${String(row.id)}`,
    });
  await showOne(io, options.output as Format, REPLAY, row, diffText(row, options.output === 'wide'));
  return EXIT.ok;
}

function diffText(row: Row, wide: boolean): string {
  const scores = row.scores as { live: number; replay: number; differ: number };
  const { decisions, evidence, scores: told } = row.diff as { [part: string]: readonly Row[] };
  const parts = [
    facts([
      ['scores', `${scores.differ} differ of ${scores.live} live and ${scores.replay} of the replay`],
      [
        'decisions',
        row.decisions === null
          ? 'not replayed'
          : `${decisions?.length} differ, ${evidence?.length} rest on other evidence`,
      ],
      ...(row.notes as readonly string[]).map((note) => ['note', note] as const),
    ]),
  ];
  if ((told ?? []).length > 0) {
    const composite = (side: unknown) => (side === null ? null : (side as Row).composite);
    const rank = (side: unknown) => (side === null ? null : (side as Row).rank);
    parts.push(
      table(
        [
          { head: 'TICK', cell: (one) => one.tick },
          { head: 'SUITE', cell: (one) => one.suite },
          { head: 'MODEL', cell: (one) => one.model },
          { head: 'RANK', cell: (one) => `${rank(one.live) ?? '–'} → ${rank(one.replay) ?? '–'}` },
          { head: 'COMPOSITE', cell: (one) => `${composite(one.live) ?? '–'} → ${composite(one.replay) ?? '–'}` },
          { head: 'WHY', cell: (one) => (one.why as readonly string[]).join('; ') },
        ],
        told ?? [],
        wide,
      ),
    );
  }
  if ((decisions ?? []).length > 0) {
    parts.push(
      table(
        [
          { head: 'DECISION', cell: (one) => one.kind },
          { head: 'SUITE', cell: (one) => one.suite },
          { head: 'TICK', cell: (one) => one.tick ?? `${String(one.a)} → ${String(one.b)}` },
          { head: 'ACTION', cell: (one) => one.action },
          { head: 'MODEL', cell: (one) => one.model ?? `${String(one.a)} → ${String(one.b)}` },
        ],
        decisions ?? [],
        wide,
      ),
    );
  }
  return parts.join('\n');
}
