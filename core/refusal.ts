/**
 * Bad input, told so that its sender can mend it: a stable `code`, the `field` (JSON pointer-like path, '' for the whole),
 * what is wrong with the value (never the value of a secret), and the mend.
 */
export interface Refusal {
  readonly code: string;
  readonly field: string;
  readonly problem: string;
  readonly mend: string;
}

/** Several refusals at once: configuration and job files list all their errors together. */
export class RefusedInput extends Error {
  override name = 'RefusedInput';
  readonly refusals: readonly Refusal[];

  constructor(refusals: readonly Refusal[]) {
    super(refusals.map(refusalText).join('\n'));
    this.refusals = refusals;
  }
}

export function refuse(code: string, field: string, problem: string, mend: string): Refusal {
  return { code, field, problem, mend };
}

/** One line for a person: `lease: must be a duration (write 30m, 2h or 1d)`. */
export function refusalText(refusal: Refusal): string {
  const where = refusal.field === '' ? '' : `${refusal.field}: `;
  return `${where}${refusal.problem} (${refusal.mend})`;
}
