/** Time that a test moves; whoever sleeps moves it too. */
export class SteppedClock {
  #nowMs = Date.UTC(2027, 0, 1);

  now(): number {
    return this.#nowMs;
  }

  async sleep(ms: number): Promise<void> {
    this.#nowMs += ms;
  }

  advance(seconds: number): void {
    this.#nowMs += seconds * 1000;
  }
}
