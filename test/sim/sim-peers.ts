import { contentHash, type Json } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { type Effectful, holdOutcome, stepOutcome } from '../../peers/finance/answers.ts';
import { Book, type Command } from '../../peers/finance/book.ts';
import type { Finance } from '../../peers/finance/client.ts';
import type { Hold, HoldRequest } from '../../peers/finance/wire.ts';
import { moneyOf } from '../../peers/money.ts';
import type { PolicyVerdict, SentinelNet } from '../../peers/sentinelnet/client.ts';
import type { PolicyRequest } from '../../peers/sentinelnet/wire.ts';
import { evidenceOf } from '../../peers/wire.ts';
import type { Faults, Life } from './life.ts';
import type { Chance } from './timeline.ts';

/** Finance's own book, which outlives the engine. */
export class SimFinance {
  readonly book = new Book();
  /** The next holds that it refuses. */
  refuses = 0;
  /** Answers nothing at all. */
  away = false;

  client(life: Life, faults: Faults): Finance {
    const ask = <T>(name: string, answer: () => T, unknown: (cause: OperatingError) => T): Promise<T> =>
      life.call({
        name: `finance.${name}`,
        effect: () => {
          if (this.away) throw new OperatingError('unreachable', 'safe', `asking Finance to ${name}`);
          return answer();
        },
        unanswered: () => unknown(new OperatingError('timeout', 'look-first', `asking Finance to ${name}`)),
        faults,
      });
    const step = (verb: 'confirm' | 'settle' | 'reverse', holdId: string, body: Json, command: Command) =>
      ask(
        `${verb} ${holdId}`,
        () => stepOutcome({ holdId, verb, body }, this.#take(command), (hold) => unexpected(verb, hold)),
        (cause) => ({ kind: 'unknown', cause }) as const,
      );
    return {
      hold: ({ amountCents, currency, ...rest }) => {
        const request: HoldRequest = { ...rest, amount: moneyOf(BigInt(amountCents), currency) };
        return ask(
          `hold ${rest.holdId}`,
          () => holdOutcome(request, this.#take({ type: 'hold', request, refusal: this.#refusal(rest.holdId) })),
          (cause) => ({ kind: 'unknown', cause }) as const,
        );
      },
      confirm: (holdId) => step('confirm', holdId, {}, { type: 'confirm', holdId }),
      settle: (holdId, { amountCents, currency }) => {
        const amount = moneyOf(BigInt(amountCents), currency);
        return step('settle', holdId, { amount }, { type: 'settle', holdId, amount });
      },
      reverse: (holdId, tenant) => step('reverse', holdId, { tenant }, { type: 'reverse', holdId, tenant }),
      get: () => Promise.reject(new Error('the engine does not ask this')),
      list: () => Promise.reject(new Error('the engine does not ask this')),
    };
  }

  #refusal(holdId: string): { readonly code: string; readonly text: string } | undefined {
    if (this.refuses === 0 || this.book.get(holdId) !== undefined) return undefined;
    this.refuses--;
    return { code: 'insufficient_funds', text: 'the division is out of money' };
  }

  #take(command: Command): Effectful {
    const plan = this.book.plan(command);
    if (plan.kind === 'problem') {
      const { status, code, detail } = plan;
      return { kind: 'problem', status, code, detail, body: { code, detail } };
    }
    if (plan.kind === 'change') this.book.commit(plan.hold);
    return { kind: 'answer', body: plan.hold as unknown as Json };
  }
}

function unexpected(verb: 'confirm' | 'settle' | 'reverse', { status }: Hold): string | undefined {
  const wanted = { confirm: ['confirmed', 'settled'], settle: ['settled'], reverse: ['reversed', 'refused'] }[verb];
  return wanted.includes(status) ? undefined : `is ${status} after ${verb}`;
}

/** A policy with versions: each denies some divisions. What it allowed, and when which version held, is remembered. */
export class SimSentinel {
  readonly allowed: { readonly requestId: string; readonly requestHash: string; readonly policyVersion: string }[] = [];
  /** Version → from when it held; the last one holds. */
  readonly versions: { readonly version: string; readonly fromMs: number }[] = [];
  away = false;
  #denied: ReadonlySet<string> = new Set();
  readonly #chance: Chance;

  constructor(chance: Chance, nowMs: number) {
    this.#chance = chance;
    this.versions.push({ version: 'v1', fromMs: nowMs });
  }

  get version(): string {
    return this.versions.at(-1)!.version;
  }

  change(denied: readonly string[], nowMs: number): void {
    this.#denied = new Set(denied);
    this.versions.push({ version: `v${this.versions.length + 1}`, fromMs: nowMs });
  }

  client(life: Life, faults: Faults): SentinelNet {
    const ask = <T>(name: string, answer: () => T): Promise<T> =>
      life.call({
        name: `sentinel.${name}`,
        effect: () => {
          if (this.away) throw new OperatingError('unreachable', 'safe', `asking SentinelNet to ${name}`);
          return answer();
        },
        unanswered: () => {
          throw new OperatingError('timeout', 'safe', `asking SentinelNet to ${name}`);
        },
        faults,
      });
    return {
      decide: (request) => ask(`decide ${request.requestId}`, () => this.#decide(request)),
      currentPolicyVersion: () => ask('version', () => this.version),
    };
  }

  #decide(request: PolicyRequest): PolicyVerdict {
    const requestHash = contentHash(request);
    const policyVersion = this.version;
    const decisionId = `d${this.allowed.length}-${this.#chance.between(0, 999)}`;
    const isDenied = this.#denied.has(request.division);
    const evidence = evidenceOf('sentinelnet', request, { decisionId, policyVersion, decision: !isDenied });
    if (isDenied) {
      const reasons = [{ code: 'policy_denied', text: 'frozen for the audit', mend: 'wait' }];
      return { kind: 'deny', code: 'policy_denied', reasons, requestHash, evidence };
    }
    this.allowed.push({ requestId: request.requestId, requestHash, policyVersion });
    const signatures = asksPeople(request) ? 2 : 0;
    return { kind: 'allow', decisionId, policyVersion, requestHash, signatures, evidence };
  }
}

/** One job in eight is for people to sign, each time that it is asked for. No draw: seeds stay what they are. */
function asksPeople({ contentHash: hash }: PolicyRequest): boolean {
  return Number.parseInt(hash.slice(0, 1), 16) < 2;
}
