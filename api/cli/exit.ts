import { OperatingError } from '../../core/operating-error.ts';
import { RefusedInput, refusalText } from '../../core/refusal.ts';

/** Exit codes; programs decide by them, so they never change their meaning. */
export const EXIT = {
  ok: 0,
  internal: 1,
  usage: 2,
  badValue: 3,
  auth: 4,
  conflict: 5,
  unreachable: 6,
  denied: 7,
  jobFailed: 8,
  notFound: 9,
  tampered: 10,
  incomplete: 11,
  shorterThanWitness: 12,
  badConfiguration: 78,
  interrupted: 130,
} as const;

/** An outcome told to the person: exit code, what is wrong, and the mend. */
export class CliError extends Error {
  override name = 'CliError';
  readonly exitCode: number;
  readonly code: string;
  readonly mend: string | undefined;
  readonly traceId: string | undefined;

  constructor(
    exitCode: number,
    code: string,
    problem: string,
    options: { readonly mend?: string; readonly traceId?: string; readonly cause?: unknown } = {},
  ) {
    super(problem, { cause: options.cause });
    this.exitCode = exitCode;
    this.code = code;
    this.mend = options.mend;
    this.traceId = options.traceId;
  }
}

export function usage(problem: string, mend: string): CliError {
  return new CliError(EXIT.usage, 'usage', problem, { mend });
}

export interface Told {
  readonly exitCode: number;
  readonly code: string;
  readonly problem: string;
  readonly mend: string | undefined;
  readonly traceId: string | undefined;
}

/** Any error as it is told; a stack only where MERIT_DEBUG asks for it, since an unknown error is a defect of ours. */
export function toldAs(error: unknown): Told {
  if (error instanceof CliError)
    return {
      exitCode: error.exitCode,
      code: error.code,
      problem: error.message,
      mend: error.mend,
      traceId: error.traceId,
    };
  if (error instanceof RefusedInput) {
    return {
      exitCode: EXIT.badValue,
      code: error.refusals[0]?.code ?? 'invalid',
      problem: error.refusals.map(refusalText).join('\n'),
      mend: undefined,
      traceId: undefined,
    };
  }
  if (error instanceof OperatingError) {
    return {
      exitCode: operatingExit(error),
      code: error.code,
      problem: error.message,
      mend: error.mend,
      traceId: undefined,
    };
  }
  const text = error instanceof Error ? error.message : String(error);
  return {
    exitCode: EXIT.internal,
    code: 'internal',
    problem: `an error of Merit itself: ${text}`,
    mend: 'run it again with MERIT_DEBUG=1 and report what it prints',
    traceId: undefined,
  };
}

function operatingExit(error: OperatingError): number {
  switch (error.code) {
    case 'conflict':
      return EXIT.conflict;
    case 'not-found':
      return EXIT.notFound;
    case 'auth':
      return EXIT.auth;
    case 'unreachable':
    case 'timeout':
      return EXIT.unreachable;
    case 'aborted':
      return EXIT.interrupted;
    case 'part-missing':
      return EXIT.badConfiguration;
    case 'witness':
      return EXIT.shorterThanWitness;
    case 'bad-reply':
    case 'capacity':
    case 'storage':
    case 'database':
      return EXIT.internal;
  }
}
