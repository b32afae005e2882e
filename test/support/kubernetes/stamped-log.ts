/** A container's output with the time at which each line began, as a kubelet keeps it. */
export class StampedLog {
  readonly #now: () => number;
  readonly #lines: { readonly atMs: number; readonly chunks: Buffer[] }[] = [];
  #isLineOpen = false;

  constructor(now: () => number) {
    this.#now = now;
  }

  append(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const newline = bytes.indexOf(0x0a, at);
      const end = newline < 0 ? bytes.length : newline + 1;
      if (!this.#isLineOpen) this.#lines.push({ atMs: this.#now(), chunks: [] });
      this.#lines.at(-1)?.chunks.push(bytes.subarray(at, end));
      this.#isLineOpen = newline < 0;
      at = end;
    }
  }

  /** As `GET …/log` has it: whole lines since a second, with their times where asked for, cut at a limit. */
  read(options: { readonly sinceMs?: number; readonly stamps: boolean; readonly limitBytes?: number }): Buffer {
    const { sinceMs = 0, stamps, limitBytes } = options;
    const parts = this.#lines
      .filter(({ atMs }) => atMs >= sinceMs)
      .flatMap(({ atMs, chunks }) => (stamps ? [Buffer.from(`${stamp(atMs)} `), ...chunks] : chunks));
    const whole = Buffer.concat(parts);
    return limitBytes === undefined ? whole : whole.subarray(0, limitBytes);
  }

  tail(bytes: number): Buffer {
    return this.read({ stamps: false }).subarray(-bytes);
  }
}

/** With nine digits behind the point, as the kubelet writes it. */
function stamp(atMs: number): string {
  return new Date(atMs).toISOString().replace('Z', '000000Z');
}
