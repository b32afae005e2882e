import type { EvalReport } from '../../core/eval-report.ts';
import type { Suite } from '../../core/suite.ts';
import type { Observation } from '../rules/contribution.ts';
import { type Contribution, type ContributionFault, contribute, isContributionFault } from '../rules/contribution.ts';
import { type DedupEntry, dedupEntry } from './dedup-index.ts';

/** A report as a line of the log holds it, as far as effects need it: read by the reference, or by the kernel. */
export interface LineReport {
  readonly suite: string;
  readonly model: string;
  readonly producer: string;
  readonly observedAtMs: number;
  /** What the dedup state keeps of it. */
  readonly entry: DedupEntry;
  /** Under a version of its suite. */
  under(suite: Suite): Counted | ContributionFault;
}

/** A report that a version of its suite lets through. */
export interface Counted {
  /** With the watched metrics at least. */
  readonly observation: Observation;
  /** Whole, for panes that are added up here; undefined: the kernel adds it to its own. */
  readonly contribution: Contribution | undefined;
  /** Told where it counts, so that the kernel adds it. */
  readonly counts: () => void;
}

export function isFault(value: Counted | ContributionFault): value is ContributionFault {
  return 'code' in value;
}

const NOTHING = () => {};

export function reportByReference(tenant: string, report: EvalReport): LineReport {
  const { suite, model, producer, observedAtMs } = report;
  let entry: DedupEntry | undefined;
  return {
    suite,
    model,
    producer,
    observedAtMs,
    get entry() {
      entry ??= dedupEntry(tenant, report);
      return entry;
    },
    under: (version) => {
      const contribution = contribute(version, report);
      if (isContributionFault(contribution)) return contribution;
      return { observation: contribution, contribution, counts: NOTHING };
    },
  };
}
