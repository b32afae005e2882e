import { type FaultKind, faultOf, type KafkaFault, kindOfProtocol } from './client.ts';

/** Opened when it is first asked for, and anew after a fault: what kafkajs keeps of a connection that broke is not to be relied on. */
export class Reopened<T> {
  readonly #open: () => Promise<T>;
  readonly #close: (opened: T) => Promise<void>;
  #opened: Promise<T> | undefined;

  constructor(open: () => Promise<T>, close: (opened: T) => Promise<void>) {
    this.#open = open;
    this.#close = close;
  }

  async use<Result>(work: (opened: T) => Promise<Result>): Promise<Result> {
    this.#opened ??= this.#open();
    const opening = this.#opened;
    try {
      return await work(await opening);
    } catch (error) {
      const found = fault(error);
      if (!KEPT_AFTER.has(found.kind) && this.#opened === opening) await this.close();
      throw found;
    }
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await opened?.then(this.#close).catch(() => {});
  }
}

const KEPT_AFTER: ReadonlySet<FaultKind> = new Set(['out-of-range']);

const KIND_BY_NAME: Readonly<Record<string, FaultKind>> = {
  KafkaJSSASLAuthenticationError: 'auth',
  KafkaJSConnectionError: 'away',
  KafkaJSConnectionClosedError: 'away',
  KafkaJSBrokerNotFound: 'away',
  KafkaJSMetadataNotLoaded: 'away',
  KafkaJSTopicMetadataNotLoaded: 'away',
  KafkaJSLockTimeout: 'timeout',
  KafkaJSRequestTimeoutError: 'timeout',
};

function fault(error: unknown): KafkaFault {
  return faultOf(error, (one) => kindOfProtocol((one as { readonly type?: string }).type) ?? KIND_BY_NAME[one.name]);
}
