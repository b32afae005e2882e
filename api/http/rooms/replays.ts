import { cancelReplay, getReplay, listReplays, type Replay, startReplay } from '../../../scoring/replay/replays.sql.ts';
import { replaySpec } from '../../../scoring/replay/spec.ts';
import type { ReplaysService } from '../scoring-services.ts';
import type { View } from '../services.ts';
import { requesterOf } from './base.ts';

/** Reports read again, into tables of their own. */
export const REPLAYS: ReplaysService = {
  start: async (tx, caller, wish) => {
    const { kind, replay } = await startReplay(tx, requesterOf(caller), replaySpec(wish));
    return { kind, view: replayView(replay) };
  },
  list: async (tx, caller, { limit, after }) => {
    const replays = await listReplays(tx, caller.identity.tenant, limit, after);
    return { items: replays.map(replayView), last: replays.length === limit ? replays.at(-1)?.replayId : undefined };
  },
  get: async (tx, caller, id) => {
    const replay = await getReplay(tx, caller.identity.tenant, id);
    return replay === undefined ? undefined : replayView(replay);
  },
  cancel: async (tx, caller, id) => {
    const replay = await cancelReplay(tx, caller.identity.tenant, id);
    return replay === undefined ? undefined : replayView(replay);
  },
  diff: async (tx, caller, id) => {
    const replay = await getReplay(tx, caller.identity.tenant, id);
    if (replay === undefined) return undefined;
    const { result } = replay;
    return view({
      ...head(replay),
      scores: result?.scores ?? null,
      decisions: result?.decisions ?? null,
      diff: result?.diff ?? null,
      notes: result?.notes ?? [],
    });
  },
  verification: async (tx, caller, id) => {
    const replay = await getReplay(tx, caller.identity.tenant, id);
    if (replay === undefined) return undefined;
    const { failure, result } = replay;
    const { diff, ...proof } = result ?? { diff: null };
    const unlike = diff === null ? null : { decisions: diff.decisions, evidence: diff.evidence };
    return view({ ...head(replay), verdict: verdictOf(replay), failure, ...proof, unlike });
  },
};

/** `equal`, `different`, `altered` (the archive is not what it was), or why nothing can be said. */
function verdictOf({ failure, result, spec, state }: Replay): string {
  if (failure?.code === 'archive') return 'altered';
  if (state !== 'done' || result === null) return 'unfinished';
  if (spec.suite !== null) return 'other_suite';
  return result.equal ? 'equal' : 'different';
}

function head({ replayId, state, spec }: Replay): object {
  return { id: replayId, state, ...told(spec) };
}

function told({ suite, ...spec }: Replay['spec']): object {
  return { ...spec, suite: suite === null ? null : { name: suite.name, hash: suite.hash } };
}

function replayView(replay: Replay): View {
  const { begunAt, changedAt, createdAt, endedAt, failure, messagesDone, messagesTotal, reports } = replay;
  return view({
    ...head(replay),
    cancelWanted: replay.cancelWanted,
    tablesKept: replay.shadow,
    messages: messagesDone,
    ofMessages: messagesTotal,
    reports,
    etaSeconds: etaSeconds(replay),
    verdict: verdictOf(replay),
    failure,
    startedBy: replay.startedBy,
    createdAt: createdAt.toISOString(),
    begunAt: begunAt?.toISOString() ?? null,
    changedAt: changedAt.toISOString(),
    endedAt: endedAt?.toISOString() ?? null,
  });
}

/** By how fast it has gone since it began; null: it has not, or has ended. */
function etaSeconds({ begunAt, changedAt, messagesDone, messagesTotal, state }: Replay): number | null {
  if (state !== 'running' || begunAt === null || messagesDone === 0) return null;
  const seconds = (changedAt.getTime() - begunAt.getTime()) / 1000;
  return Math.ceil((seconds / messagesDone) * (messagesTotal - messagesDone));
}

function view(of: object): View {
  return of as unknown as View;
}
