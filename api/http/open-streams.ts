import type { FastifyInstance, FastifyReply } from 'fastify';
import * as limits from './limits.ts';
import { HttpProblem } from './problem.ts';
import { SseStream } from './sse.ts';

const LATER = { 'retry-after': String(limits.RETRY_AFTER_SECONDS) };

/** What follows one stream until `until`: the reader is gone, or the server stops. */
export type Follow<T> = (stream: SseStream, first: T, until: AbortSignal) => Promise<void>;

/** The event streams of one kind that a server holds open: no more than `most`, and ended when it stops. */
export class OpenStreams {
  readonly #most: number;
  readonly #counted: (open: number) => void;
  readonly #streams = new Set<SseStream>();
  /** Those that are about to open count too. */
  #opening = 0;
  readonly #stop = new AbortController();

  constructor(app: FastifyInstance, most: number, counted: (open: number) => void = () => {}) {
    this.#most = most;
    this.#counted = counted;
    app.addHook('preClose', async () => {
      this.#stop.abort();
      for (const stream of this.#streams) stream.end();
    });
  }

  /** `first` is read before anything is sent, so that what is wrong there is still a problem like others. Throws HttpProblem 503. */
  async open<T>(reply: FastifyReply, first: () => Promise<T>, follow: Follow<T>): Promise<void> {
    if (this.#stop.signal.aborted)
      throw new HttpProblem(503, 'stopping', 'this server is stopping; come back', { headers: LATER });
    if (this.#streams.size + this.#opening >= this.#most) {
      const problem = `${this.#most} streams are open already; come back`;
      throw new HttpProblem(503, 'too_many_streams', problem, { headers: LATER });
    }
    this.#opening++;
    const read = await first().finally(() => {
      this.#opening--;
    });
    const headers = Object.fromEntries(
      Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]),
    );
    reply.hijack();
    const stream = new SseStream(reply.raw, { ...headers, 'cache-control': 'no-store' }, limits.SLOW_READER_MS);
    this.#streams.add(stream);
    this.#counted(this.#streams.size);
    void follow(stream, read, AbortSignal.any([this.#stop.signal, stream.gone])).finally(() => {
      stream.end();
      this.#streams.delete(stream);
      this.#counted(this.#streams.size);
    });
  }
}
