/** Of one node's container. */
export interface Run {
  /** From 1. */
  readonly node: number;
  readonly startedAtMs: number;
  readonly noticeAtMs: number | undefined;
  readonly killAtMs: number | undefined;
}

/** What one node's container has done by now. */
export interface ContainerState {
  readonly output: Buffer;
  readonly end: { readonly atMs: number; readonly exitCode: number } | undefined;
  /** Where it says when it wrote each line; absent: at its beginning and at its end. */
  readonly lines?: readonly LogLine[];
}

export interface LogLine {
  readonly atMs: number;
  readonly message: string;
}

/** The agent sends lines, and what stands behind the last line end as one. */
export function linesOf(bytes: Buffer, atMs: number): readonly LogLine[] {
  if (bytes.length === 0) return [];
  const lines = bytes.toString('utf8').split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.map((message) => ({ atMs, message }));
}

/** What a job's containers do. */
export interface Script {
  /** Until they end by themselves; absent: never. */
  readonly runs?: number;
  readonly exit?: number;
  /** They go on after their notice. */
  readonly stubborn?: boolean;
  /** By node: seconds after the beginning, and what it writes then. */
  readonly lines?: Readonly<Record<number, readonly (readonly [number, string])[]>>;
}

/** What a container that follows its script has done by now. */
export function scriptedState(
  { runs = Number.POSITIVE_INFINITY, exit = 0, stubborn = false, lines = {} }: Script,
  { node, startedAtMs, noticeAtMs, killAtMs }: Run,
  nowMs: number,
): ContainerState {
  const ends = [
    { atMs: startedAtMs + runs * 1000, exitCode: exit },
    ...(noticeAtMs === undefined || stubborn ? [] : [{ atMs: noticeAtMs, exitCode: 0 }]),
    ...(killAtMs === undefined ? [] : [{ atMs: killAtMs, exitCode: 137 }]),
  ];
  const first = ends.reduce((a, b) => (b.atMs < a.atMs ? b : a));
  const end = first.atMs <= nowMs ? first : undefined;
  const untilMs = Math.min(nowMs, first.atMs);
  const told: LogLine[] = (lines[node] ?? [])
    .map(([second, message]) => ({ atMs: startedAtMs + second * 1000, message }))
    .filter(({ atMs }) => atMs <= untilMs);
  return { output: Buffer.alloc(0), end, lines: told };
}
