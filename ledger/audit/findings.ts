/** What an offline check found wrong, and where. */
export interface Finding {
  /** From 1; 0: the file as a whole. */
  readonly line: number;
  /** Place in the audit log, where the line has one. */
  readonly seq: number | undefined;
  /** Path inside the line; '' for all of it. */
  readonly field: string;
  readonly problem: string;
  /** `incomplete`: something is missing at the end; `tampered`: what is there is not what was written; `shorter`: whole in itself, but older than its witness. */
  readonly kind: 'tampered' | 'incomplete' | 'shorter';
}

/** Further findings are counted only. */
export const MAX_FINDINGS = 100;

export interface Findings {
  readonly list: readonly Finding[];
  readonly total: number;
  tampered(line: number, field: string, problem: string, seq?: number): void;
  incomplete(line: number, field: string, problem: string): void;
  shorter(problem: string): void;
  has(kind: Finding['kind']): boolean;
}

export function newFindings(): Findings {
  const list: Finding[] = [];
  const kinds = new Set<Finding['kind']>();
  let total = 0;
  const add = (finding: Finding) => {
    total++;
    kinds.add(finding.kind);
    if (list.length < MAX_FINDINGS) list.push(finding);
  };
  return {
    list,
    get total() {
      return total;
    },
    tampered: (line, field, problem, seq) => add({ line, seq, field, problem, kind: 'tampered' }),
    incomplete: (line, field, problem) => add({ line, seq: undefined, field, problem, kind: 'incomplete' }),
    shorter: (problem) => add({ line: 0, seq: undefined, field: 'witness', problem, kind: 'shorter' }),
    has: (kind) => kinds.has(kind),
  };
}
