import { contentHash, type Json } from '../../../core/canonical.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { parseRfc3339 } from '../../../core/rfc3339.ts';
import { parseSuite } from '../../../core/suite.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { suiteChecksum } from '../../../scoring/read/checksum.ts';
import { getDecision, listDecisions, type StoredDecision } from '../../../scoring/read/promotions.ts';
import { leaderboard, scoreHistory, scoresOfModel } from '../../../scoring/read/scores.ts';
import { LiveScores } from '../../../scoring/realtime/compute.ts';
import { LiveWindows } from '../../../scoring/realtime/live-windows.ts';
import { lockSubject } from '../../../scoring/registry/lock-subject.ts';
import { parseModel } from '../../../scoring/registry/model-document.ts';
import {
  addVersion,
  getModel,
  listModels,
  type ModelEntry,
  registerModel,
  setAlias,
} from '../../../scoring/registry/models.ts';
import { applySuite, getSuite, listSuites, type SuiteEntry } from '../../../scoring/registry/suites.ts';
import { listRetrains, requestRetrain } from '../../../scoring/retrain/request-retrain.ts';
import { explain } from '../../../scoring/rules/explain.ts';
import type { ScoringService } from '../scoring-services.ts';
import type { Caller, Page, PutOutcome, Rows, View } from '../services.ts';
import { type RoomPorts, requesterOf } from './base.ts';
import { named } from './named.ts';

function rowsOf<T>(entries: readonly T[], limit: number, view: (entry: T) => View, key: (entry: T) => string): Rows {
  const last = entries.length === limit ? entries.at(-1) : undefined;
  return { items: entries.map(view), last: last === undefined ? undefined : key(last) };
}

function suiteView(entry: SuiteEntry): View {
  const { suite, suiteHash, ...rest } = entry;
  return { name: suite, hash: suiteHash, version: suiteHash, ...rest } as unknown as View;
}

function modelView(entry: ModelEntry): View {
  const { model, versions, ...rest } = entry;
  return {
    name: model,
    version: modelVersion(entry),
    versions: versions.map((version) => version.version),
    ...rest,
  } as unknown as View;
}

/** What If-Match guards of a model: what `apply` changes. */
function modelVersion(entry: ModelEntry): string {
  return contentHash([entry.division, entry.suite, (entry.retrain ?? null) as Json]).slice(0, 32);
}

function decisionView({ hash, signed, auditEventId, traceId, review }: StoredDecision): View {
  const { record } = signed;
  const composites = Object.values(record.evidence.compositeByTick);
  return {
    id: hash,
    suite: record.suite,
    tick: record.tick,
    action: record.action,
    model: record.model,
    incumbentBefore: record.incumbentBefore,
    composite: composites.at(-1) ?? null,
    decidedAt: record.decidedAt,
    auditEventId,
    traceId,
    review: (review ?? null) as Json,
    signed: signed as unknown as Json,
  };
}

async function putSuite(
  tx: Tx,
  caller: Caller,
  name: string,
  document: unknown,
  ifVersion: string | undefined,
): Promise<PutOutcome> {
  const suite = parseSuite(document);
  named(suite, name);
  const { tenant } = caller.identity;
  await lockSubject(tx, tenant, `suite/${name}`);
  const before = await getSuite(tx, tenant, name);
  if (ifVersion !== undefined && ifVersion !== (before?.suiteHash ?? ''))
    return { kind: 'stale', version: before?.suiteHash ?? '' };
  const applied = await applySuite(tx, requesterOf(caller), suite);
  const view = suiteView((await getSuite(tx, tenant, name)) as SuiteEntry);
  const kind = before === undefined ? 'created' : applied.kind === 'unchanged' ? 'unchanged' : 'replaced';
  return { kind, version: applied.suiteHash, view };
}

async function putModel(
  tx: Tx,
  caller: Caller,
  name: string,
  document: unknown,
  ifVersion: string | undefined,
): Promise<PutOutcome> {
  const model = parseModel(document);
  named(model, name);
  const { tenant } = caller.identity;
  await lockSubject(tx, tenant, `model/${name}`);
  const before = await getModel(tx, tenant, name);
  const version = before === undefined ? '' : modelVersion(before);
  if (ifVersion !== undefined && ifVersion !== version) return { kind: 'stale', version };
  const outcome = await registerModel(tx, requesterOf(caller), model);
  const after = (await getModel(tx, tenant, name)) as ModelEntry;
  return { kind: outcome === 'updated' ? 'replaced' : outcome, version: modelVersion(after), view: modelView(after) };
}

/** A score taken apart; undefined: there is none. */
async function explained(
  tx: Tx,
  caller: Caller,
  model: string,
  filter: { readonly suite: string | undefined; readonly atMs: number | undefined },
): Promise<View | undefined> {
  const scores = await scoresOfModel(tx, caller.identity.tenant, model, filter);
  if (scores.length > 1) {
    const names = scores.map(({ score }) => score.suite).join(', ');
    throw new RefusedInput([
      refuse('required', 'suite', 'is missing, and the model is scored by several', `name one of ${names}`),
    ]);
  }
  const [found] = scores;
  if (found === undefined) return undefined;
  const { suite, suiteHash, at, rank, revision, traceId } = found.score;
  const explanation = explain(parseSuite(found.document), found.score);
  return { model, suite, suiteHash, at, rank, revision, traceId, ...explanation } as unknown as View;
}

async function history(tx: Tx, caller: Caller, model: string, suite: string, page: Page): Promise<Rows> {
  const before = page.after === undefined ? undefined : parseRfc3339(page.after);
  const scores = await scoreHistory(tx, caller.identity.tenant, suite, model, page.limit, before);
  return rowsOf(
    scores,
    page.limit,
    (score) => score as unknown as View,
    (score) => score.at,
  );
}

export function scoringOf(ports: RoomPorts): ScoringService {
  const live = new LiveScores(ports.reads, ports.realtimeMetrics, new LiveWindows(ports.reads, ports.recentCommits));
  return {
    compute: async (caller, report) =>
      (await live.compute(caller.identity.tenant, report, caller.nowMs)) as unknown as View,
    explain: explained,
    history,
    scores: async (tx, caller, model, suite) => {
      const scores = await scoresOfModel(tx, caller.identity.tenant, model, { suite });
      return scores.length === 0 ? undefined : ({ model, suites: scores.map(({ score }) => score) } as unknown as View);
    },
    leaderboard: async (tx, caller, suite, { atMs, withChecksum }) => {
      const { tenant } = caller.identity;
      const board = await leaderboard(tx, tenant, suite, atMs);
      if (board === undefined) return undefined;
      return {
        ...board,
        ...(withChecksum ? { checksum: await suiteChecksum(tx, tenant, suite) } : {}),
      } as unknown as View;
    },
    suites: async (tx, caller, page) =>
      rowsOf(
        await listSuites(tx, caller.identity.tenant, page.limit, page.after),
        page.limit,
        suiteView,
        (entry) => entry.suite,
      ),
    suite: async (tx, caller, name) => {
      const entry = await getSuite(tx, caller.identity.tenant, name);
      return entry === undefined ? undefined : { version: entry.suiteHash, view: suiteView(entry) };
    },
    putSuite,
    promotions: async (tx, caller, filter, page) => {
      const before = page.after === undefined ? {} : { before: page.after };
      const decisions = await listDecisions(tx, caller.identity.tenant, { ...filter, ...before, limit: page.limit });
      return rowsOf(decisions, page.limit, decisionView, (decision) => decision.hash);
    },
    promotion: async (tx, caller, id) => {
      const decision = await getDecision(tx, caller.identity.tenant, id);
      return decision === undefined ? undefined : decisionView(decision);
    },
    models: async (tx, caller, page) =>
      rowsOf(
        await listModels(tx, caller.identity.tenant, page.limit, page.after),
        page.limit,
        modelView,
        (entry) => entry.model,
      ),
    model: async (tx, caller, name) => {
      const entry = await getModel(tx, caller.identity.tenant, name);
      return entry === undefined ? undefined : { version: modelVersion(entry), view: modelView(entry) };
    },
    putModel,
    versions: async (tx, caller, model) => {
      const entry = await getModel(tx, caller.identity.tenant, model);
      return entry?.versions as unknown as readonly View[] | undefined;
    },
    retrain: async (tx, caller, model) => {
      const raised = await requestRetrain(tx, ports.clock, requesterOf(caller), model);
      const all = await listRetrains(tx, caller.identity.tenant, undefined, model);
      const view = all.find(({ requestId }) => requestId === raised.requestId);
      return { kind: raised.kind === 'exists' ? 'exists' : 'raised', view: { ...view } as unknown as View };
    },
    retrains: async (tx, caller, model) =>
      (await listRetrains(tx, caller.identity.tenant, undefined, model)) as unknown as readonly View[],
    putAlias: async (tx, caller, model, alias, version) => {
      await setAlias(tx, requesterOf(caller), model, alias, version);
      return { model, alias, version };
    },
    putVersion: async (tx, caller, model, version, seat) => {
      const outcome = await addVersion(tx, requesterOf(caller), { model, version, seat });
      return { model, version, seat, outcome };
    },
  };
}
