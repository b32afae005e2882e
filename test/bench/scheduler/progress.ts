/** How far a benchmark is: a line that is rewritten on a terminal, and lines of their own elsewhere for what is said once. */
export class Progress {
  readonly #to: NodeJS.WriteStream;
  #shown = false;

  constructor(to: NodeJS.WriteStream) {
    this.#to = to;
  }

  say(line: string): void {
    this.clear();
    this.#to.write(`${line}\n`);
  }

  /** On a terminal only. */
  show(what: string, done: number, all: number): void {
    if (!this.#to.isTTY) return;
    this.#to.write(`\r\u001b[K${what}: ${Math.floor((100 * done) / Math.max(1, all))} %`);
    this.#shown = true;
  }

  clear(): void {
    if (this.#shown) this.#to.write('\r\u001b[K');
    this.#shown = false;
  }
}
