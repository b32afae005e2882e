import { closeSync, openSync, writeSync } from 'node:fs';

const CUT_NOTICE = '\n[the log was cut here: its limit is reached]\n';

/** A job's output on disk, up to a limit; what comes after is taken and dropped, so that a chatty job neither fills the disk nor stalls. */
export class JobLog {
  readonly #file: number;
  #room: number;

  constructor(path: string, limitBytes: number) {
    this.#file = openSync(path, 'a', 0o600);
    this.#room = limitBytes;
  }

  write(chunk: Uint8Array): void {
    if (this.#room <= 0) return;
    this.#put(chunk.subarray(0, this.#room));
    this.#room -= chunk.length;
    if (this.#room <= 0) this.#put(Buffer.from(CUT_NOTICE));
  }

  close(): void {
    closeSync(this.#file);
  }

  #put(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at);
    } catch {
      // A full disk costs the log, not the job.
      this.#room = 0;
    }
  }
}
