import { contentHash } from '../../../core/canonical.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { parseSuite, type Suite } from '../../../core/suite.ts';
import type { Feature } from '../../../platform/features.ts';
import { suiteDiff } from '../../../scoring/read/suite-diff.ts';
import {
  getRollout,
  promoteRollout,
  putRollout,
  type RolloutEntry,
  rollBack,
} from '../../../scoring/registry/rollouts.ts';
import type { RolloutsService } from '../scoring-services.ts';
import type { View } from '../services.ts';
import { type RoomPorts, requesterOf } from './base.ts';
import { named } from './named.ts';
import { historyOf } from './recompute.ts';

const FEATURE: Feature = 'suite-rollouts';

function requireFeature(features: ReadonlySet<Feature>): void {
  if (features.has(FEATURE)) return;
  throw new RefusedInput([
    refuse(
      'feature_off',
      'features',
      `does not name ${FEATURE} on this server`,
      `add features: [${FEATURE}] to merit.yaml and start it again`,
    ),
  ]);
}

function rolloutView(entry: RolloutEntry): View {
  const { rolloutId, suiteHash, fromHash, ...rest } = entry;
  return {
    id: rolloutId,
    version: rolloutVersion(entry),
    mode: entry.share === 0 ? 'shadow' : 'canary',
    from: fromHash,
    to: suiteHash,
    ...rest,
  } as unknown as View;
}

/** What If-Match guards: the rollout and what is wanted of it. */
function rolloutVersion({ rolloutId, state, share, forced }: RolloutEntry): string {
  return contentHash([rolloutId, state, share, forced]).slice(0, 32);
}

function suiteIn(document: unknown, name: string): Suite | undefined {
  if (document === undefined) return undefined;
  const suite = parseSuite(document);
  named(suite, name);
  return suite;
}

export function rolloutsOf(ports: Pick<RoomPorts, 'features' | 'db' | 'store' | 'eventLog'>): RolloutsService {
  const { features } = ports;
  return {
    rollout: async (tx, caller, name) => {
      requireFeature(features);
      const entry = await getRollout(tx, caller.identity.tenant, name);
      return entry === undefined ? undefined : { version: rolloutVersion(entry), view: rolloutView(entry) };
    },
    putRollout: async (tx, caller, name, { suite, share, force }, ifVersion) => {
      requireFeature(features);
      const by = requesterOf(caller);
      const wanted = { share, forced: force ?? false };
      if (ifVersion !== undefined) {
        const before = await getRollout(tx, by.tenant, name);
        const version = before?.state === 'running' ? rolloutVersion(before) : '';
        if (ifVersion !== version) return { kind: 'stale', version };
      }
      const { kind, entry } = await putRollout(tx, by, name, suiteIn(suite, name), wanted);
      return { kind, version: rolloutVersion(entry), view: rolloutView(entry) };
    },
    promote: async (tx, caller, name, force) => {
      requireFeature(features);
      const entry = await promoteRollout(tx, requesterOf(caller), name, force);
      return entry === undefined ? undefined : rolloutView(entry);
    },
    rollBack: async (tx, caller, name) => {
      requireFeature(features);
      const entry = await rollBack(tx, requesterOf(caller), name);
      return entry === undefined ? undefined : rolloutView(entry);
    },
    diff: async (tx, caller, name) => {
      requireFeature(features);
      const diff = await suiteDiff(tx, caller.identity.tenant, name);
      return diff === undefined ? undefined : (diff as unknown as View);
    },
    ...historyOf(ports),
  };
}
