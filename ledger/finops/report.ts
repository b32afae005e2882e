import type { Settlement } from './charges.ts';

/**
 * What money went for: jobs that came to their end; work that had to make room for others; attempts that failed, whatever came after; and what
 * somebody or a lease ended.
 */
export type Purpose = 'completed' | 'preempted' | 'failed' | 'stopped';

export interface Spend {
  readonly division: string;
  readonly currency: string;
  readonly settlements: number;
  readonly settledCents: bigint;
  readonly byPurpose: Readonly<Record<Purpose, bigint>>;
  /** The part of it that ran on spot capacity. */
  readonly spotCents: bigint;
}

/** Sums of settlements by division and currency; as many as there are divisions, however many settlements come. */
export class SpendSums {
  readonly #sums = new Map<string, Spend>();

  add(of: Settlement): void {
    const key = spendKey(of);
    const { settlements, settledCents, byPurpose, spotCents } = this.#sums.get(key) ?? NOTHING;
    const purpose = purposeOf(of);
    this.#sums.set(key, {
      division: of.division,
      currency: of.currency,
      settlements: settlements + 1,
      settledCents: settledCents + of.cents,
      byPurpose: { ...byPurpose, [purpose]: byPurpose[purpose] + of.cents },
      spotCents: spotCents + (of.spot ? of.cents : 0n),
    });
  }

  get(division: string, currency: string): Spend {
    return this.#sums.get(spendKey({ division, currency })) ?? { division, currency, ...NOTHING };
  }
}

const NOTHING = {
  settlements: 0,
  settledCents: 0n,
  byPurpose: { completed: 0n, preempted: 0n, failed: 0n, stopped: 0n },
  spotCents: 0n,
};

function spendKey({ division, currency }: { readonly division: string; readonly currency: string }): string {
  return `${division} ${currency}`;
}

export function purposeOf({ outcome, reason }: Pick<Settlement, 'outcome' | 'reason'>): Purpose {
  if (reason === 'preempted') return 'preempted';
  if (outcome === 'released') return 'completed';
  return outcome === 'failed' || outcome === 'retry' ? 'failed' : 'stopped';
}
