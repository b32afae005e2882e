import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RouteContext } from './context.ts';
import { mayStill } from './guard.ts';
import * as limits from './limits.ts';
import { HttpProblem } from './problem.ts';
import type { Services } from './services.ts';
import { SseStream } from './sse.ts';

const LATER = { 'retry-after': String(limits.RETRY_AFTER_SECONDS) };

/** What follows one stream until `until`: the reader is gone or may read no more, or the server stops. */
export type Follow<T> = (stream: SseStream, first: T, until: AbortSignal) => Promise<void>;

/** The event streams of one kind that a server holds open: no more than `most`, each for as long as its reader may read it, and ended when the server stops. */
export class OpenStreams {
  readonly #services: Services;
  readonly #most: number;
  readonly #counted: (open: number) => void;
  readonly #streams = new Set<SseStream>();
  /** Those that are about to open count too. */
  #opening = 0;
  readonly #stop = new AbortController();

  constructor({ app, services }: RouteContext, most: number, counted: (open: number) => void = () => {}) {
    this.#services = services;
    this.#most = most;
    this.#counted = counted;
    app.addHook('preClose', async () => {
      this.#stop.abort();
      for (const stream of this.#streams) stream.end();
    });
  }

  /** `first` is read before anything is sent, so that what is wrong there is still a problem like others. Throws HttpProblem 503. */
  async open<T>(
    request: FastifyRequest,
    reply: FastifyReply,
    first: () => Promise<T>,
    follow: Follow<T>,
  ): Promise<void> {
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
    const over = new AbortController();
    const until = AbortSignal.any([this.#stop.signal, stream.gone, over.signal]);
    void this.#watchRights(request, stream, until, () => over.abort());
    void follow(stream, read, until).finally(() => {
      over.abort();
      stream.end();
      this.#streams.delete(stream);
      this.#counted(this.#streams.size);
    });
  }

  /** Its request was let in once; what its reader may can end long before the stream does. */
  async #watchRights(request: FastifyRequest, stream: SseStream, until: AbortSignal, end: () => void): Promise<void> {
    const { clock, log } = this.#services;
    for (;;) {
      await clock.sleep(limits.STREAM_RIGHTS_MS, until);
      if (until.aborted) return;
      const may = await mayStill(this.#services, request).catch((error: unknown) => {
        log.error({ trace: request.id, error: String(error) }, 'nobody knows who reads a stream: it ends');
        return false;
      });
      if (may || until.aborted) continue;
      stream.denied = true;
      end();
      // At once: what follows it may be waiting for something else.
      stream.end();
    }
  }
}
