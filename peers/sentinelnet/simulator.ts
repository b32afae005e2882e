import type { Json } from '../../core/canonical.ts';
import { RefusedInput } from '../../core/refusal.ts';
import { check } from '../../core/schema.ts';
import {
  type PeerServer,
  problemAnswer,
  type Route,
  refusedAnswer,
  type SimulatorTls,
  startPeerServer,
} from '../simulator-server.ts';
import { ALLOW_ALL, decide, type PolicyRules, rulesRefusals, versionOf } from './rules.ts';
import { PolicyRequest, requestRefusals } from './wire.ts';

export type SentinelRoute = 'decide' | 'policy-version';

export interface SentinelSimulator extends PeerServer {
  /** Other rules, another policy version, from the next call on. Throws RefusedInput. */
  setRules(rules: PolicyRules): void;
  readonly policyVersion: string;
}

export interface SentinelSimulatorOptions {
  readonly rules?: PolicyRules;
  /** Asked before each decision; undefined: the rules stay. What it throws is answered as 503: no decision by old rules. */
  readonly reload?: () => PolicyRules | undefined;
  readonly tls?: SimulatorTls | undefined;
  readonly port?: number;
}

/** A SentinelNet that decides by a list of rules, on the real wire. */
export async function startSentinelSimulator(options: SentinelSimulatorOptions = {}): Promise<SentinelSimulator> {
  let rules = options.rules ?? ALLOW_ALL;
  const setRules = (next: PolicyRules) => {
    const refusals = rulesRefusals(next);
    if (refusals.length > 0) throw new RefusedInput(refusals);
    rules = next;
  };
  setRules(rules);
  const reload = () => {
    const next = options.reload?.();
    if (next !== undefined) setRules(next);
  };
  const withFreshRules = (answer: () => ReturnType<Route['handle']>): ReturnType<Route['handle']> => {
    try {
      reload();
    } catch (error) {
      return problemAnswer(
        503,
        'rules_unreadable',
        error instanceof RefusedInput ? error.message : 'the rules cannot be read',
      );
    }
    return answer();
  };
  const routes: readonly (Route & { readonly name: SentinelRoute })[] = [
    {
      name: 'decide',
      method: 'POST',
      path: /^\/v1\/decisions$/,
      handle: ({ body }) => {
        const refusals = [...check(PolicyRequest, body)];
        if (refusals.length === 0) refusals.push(...requestRefusals(body as unknown as PolicyRequest));
        if (refusals.length > 0) return refusedAnswer(refusals);
        return withFreshRules(() => ({
          status: 200,
          body: decide(rules, body as unknown as PolicyRequest) as unknown as Json,
        }));
      },
    },
    {
      name: 'policy-version',
      method: 'GET',
      path: /^\/v1\/policy-version$/,
      handle: () => withFreshRules(() => ({ status: 200, body: { policyVersion: versionOf(rules) } })),
    },
  ];
  const server = await startPeerServer(routes, options);
  return {
    ...server,
    setRules,
    get policyVersion() {
      return versionOf(rules);
    },
  };
}
