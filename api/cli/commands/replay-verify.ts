import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { facts, type Row, showOne } from '../render.ts';
import { replayPath } from '../replay.ts';
import { REPLAY } from '../shapes.ts';
import type { Format } from '../values.ts';

const EXITS: Readonly<Record<string, number>> = {
  equal: EXIT.ok,
  different: EXIT.tampered,
  altered: EXIT.tampered,
  other_suite: EXIT.incomplete,
  unfinished: EXIT.incomplete,
};

/** Are scores, decisions and reports those that were live? Tells the first thing that differs, or what in the archive was altered. */
export default async function replayVerify(invocation: Invocation): Promise<number> {
  const { args, io, options } = invocation;
  const client = await connect(invocation);
  const row = await client.get<Row>(`${replayPath(args[0])}/verify`);
  await showOne(io, options.output as Format, REPLAY, row, verifyText(row));
  return EXITS[String(row.verdict)] ?? EXIT.internal;
}

function verifyText(row: Row): string {
  const failure = row.failure as Row | null;
  const digest = row.inputDigest as Row | undefined;
  const first = row.first as Row | null | undefined;
  const archive = row.archive as Row | null | undefined;
  return facts([
    ['verdict', VERDICTS[String(row.verdict)]],
    ['state', failure === null ? row.state : `${String(row.state)}: ${String(failure.problem)}`],
    ...faultFacts(failure?.fault as Row | null | undefined),
    ['mend', failure?.mend],
    ...((row.checksums ?? []) as readonly Row[]).map(
      (one) => [`checksum of ${String(one.suite)}`, sides(one)] as const,
    ),
    ['inputDigest', digest === undefined ? undefined : sides(digest)],
    ['archive', archive == null ? undefined : `${String(archive.segments)} segments as they were archived`],
    ...firstFacts(first),
    ...((row.notes ?? []) as readonly string[]).map((note) => ['note', note] as const),
  ]);
}

const VERDICTS: Readonly<Record<string, string>> = {
  equal: 'equal: what was live follows from the reports',
  different: 'different: what was live does not follow from the reports',
  altered: 'altered: the archive is not what was archived',
  other_suite: 'none: it was replayed under another suite; see merit replay diff',
  unfinished: 'none: it has not come to its end',
};

function sides({ live, replay }: Row): string {
  return live === replay ? String(live) : `live ${String(live)}, replay ${String(replay)}`;
}

function faultFacts(fault: Row | null | undefined): (readonly [string, unknown])[] {
  if (fault == null) return [];
  return [
    ['segment', fault.object],
    ['offset', fault.offset],
    ['line', fault.line],
    ['problem', fault.problem],
  ];
}

function firstFacts(first: Row | null | undefined): (readonly [string, unknown])[] {
  if (first == null) return [];
  const pane = first.pane as Row | null;
  const counts = pane === null ? null : `${pane.live ?? 'none'} reports live, ${pane.replay ?? 'none'} in the replay`;
  return [
    ['first difference', `${String(first.suite)}, tick ${String(first.tick)}, model ${String(first.model)}`],
    ['window', first.window],
    ['metric', first.metric],
    ['live', first.live],
    ['replay', first.replay],
    ['pane', pane === null ? null : `${String(pane.minutes)} min from ${String(pane.start)}: ${counts}`],
  ];
}
