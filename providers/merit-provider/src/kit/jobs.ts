/**
 * The one command line of all the kit's jobs; what a job does stands in its environment, so that a simulator need not be a shell:
 * it prints MERIT_KIT_TEXT, then the file MERIT_KIT_FILE (and `+x` where that may be executed), sleeps MERIT_KIT_STEPS fifths of a
 * second and exits with MERIT_KIT_EXIT. SIGTERM while it sleeps: it prints MERIT_KIT_LAST and exits with 0, or goes on where
 * MERIT_KIT_STUBBORN is set.
 */
export const KIT_ENTRYPOINT = [
  `trap 'printf %s "$MERIT_KIT_LAST"; exit 0' TERM`,
  `[ -z "$MERIT_KIT_STUBBORN" ] || trap '' TERM`,
  `printf %s "$MERIT_KIT_TEXT"`,
  // At once, as a backend may write lines of its own into the same log.
  `show() { t=$(mktemp); { cat "$1"; [ ! -x "$1" ] || printf +x; } > "$t"; cat "$t"; rm "$t"; }`,
  `[ -z "$MERIT_KIT_FILE" ] || show "$MERIT_KIT_FILE"`,
  `i=0; while [ "$i" -lt "$MERIT_KIT_STEPS" ]; do sleep 0.2; i=$((i+1)); done`,
  `exit "$MERIT_KIT_EXIT"`,
].join('; ');

const STEP_MS = 200;
/** Ten minutes: until it is ended. */
const LONG_STEPS = 3000;

export interface KitJob {
  readonly text?: string;
  readonly file?: string;
  readonly exit?: number;
  /** It runs until it is ended. */
  readonly sleeps?: boolean;
  readonly last?: string;
  readonly stubborn?: boolean;
}

export function kitEnv(job: KitJob): Readonly<Record<string, string>> {
  return {
    MERIT_KIT_TEXT: job.text ?? '',
    MERIT_KIT_FILE: job.file ?? '',
    MERIT_KIT_STEPS: String(job.sleeps === true ? LONG_STEPS : 0),
    MERIT_KIT_EXIT: String(job.exit ?? 0),
    MERIT_KIT_LAST: job.last ?? '',
    MERIT_KIT_STUBBORN: job.stubborn === true ? '1' : '',
  };
}

/** A job of the kit as a simulator knows it. */
export interface SimulatedRun {
  readonly env: Readonly<Record<string, string>>;
  readonly startedAtMs: number;
  /** When it was asked to end by itself. */
  readonly noticeAtMs?: number | undefined;
  /** When it is killed, if it still runs then. */
  readonly killAtMs?: number | undefined;
  file?(path: string): { readonly bytes: Uint8Array; readonly executable: boolean } | undefined;
}

export interface SimulatedState {
  readonly output: Buffer;
  readonly end:
    | { readonly atMs: number; readonly exitCode: number; readonly by: 'itself' | 'notice' | 'kill' }
    | undefined;
}

/** What the command line above would have printed by now, and how it ended if it has. For simulators. */
export function simulateKitJob(run: SimulatedRun, nowMs: number): SimulatedState {
  const { env, startedAtMs } = run;
  const { MERIT_KIT_TEXT: text = '', MERIT_KIT_FILE: path = '', MERIT_KIT_LAST: last = '' } = env;
  const file = path === '' ? undefined : run.file?.(path);
  const printed = [
    Buffer.from(text),
    file?.bytes ?? Buffer.alloc(0),
    Buffer.from(file?.executable === true ? '+x' : ''),
  ];
  const exitCode = path !== '' && file === undefined ? 1 : Number(env.MERIT_KIT_EXIT ?? 0);
  const ends: NonNullable<SimulatedState['end']>[] = [
    { atMs: startedAtMs + Number(env.MERIT_KIT_STEPS ?? 0) * STEP_MS, exitCode, by: 'itself' },
  ];
  if (run.killAtMs !== undefined) ends.push({ atMs: run.killAtMs, exitCode: 137, by: 'kill' });
  if (run.noticeAtMs !== undefined && env.MERIT_KIT_STUBBORN !== '1')
    ends.push({ atMs: Math.max(run.noticeAtMs, startedAtMs), exitCode: 0, by: 'notice' });
  const first = ends.reduce((a, b) => (b.atMs < a.atMs ? b : a));
  const end = first.atMs <= nowMs ? first : undefined;
  if (end?.by === 'notice') printed.push(Buffer.from(last));
  return { output: Buffer.concat(printed), end };
}
