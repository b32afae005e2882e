import { createHmac, timingSafeEqual } from 'node:crypto';
import type { LogMessage } from '../../platform/event-log.ts';
import { STRAY_HEADER } from './report-log.ts';
import type { StrayMessage } from './strays.ts';

/** Of the MAC, in hex: 128 bits. */
const SEAL_DIGITS = 32;

type Sealed = Pick<LogMessage, 'topic' | 'tenant'> & { readonly value: Uint8Array };

/**
 * Whoever may write to the topic may write any header, and one that names a great offset of another partition would have that partition's lines
 * taken for repeats. So where a line was read is believed to those only who know the installation's key, and of that message in that partition.
 */
export class StraySeal {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** As it is appended. */
  seal({ message, partition }: StrayMessage): StrayMessage['message'] {
    const origin = message.headers[STRAY_HEADER]!;
    const seal = this.#macOf(message, partition, origin);
    return { ...message, headers: { ...message.headers, [STRAY_HEADER]: `${origin}:${seal}` } };
  }

  /** As it is read: one that is not sealed says nothing of where it came from. */
  open(message: LogMessage): LogMessage {
    const { [STRAY_HEADER]: sealed, ...headers } = message.headers;
    if (sealed === undefined) return message;
    const { partition, tenant, topic, value } = message;
    const end = sealed.lastIndexOf(':');
    const origin = sealed.slice(0, Math.max(0, end));
    const given = Buffer.from(sealed.slice(end + 1));
    const isOurs =
      value !== null &&
      given.length === SEAL_DIGITS &&
      timingSafeEqual(given, Buffer.from(this.#macOf({ topic, tenant, value }, partition, origin)));
    return { ...message, headers: isOurs ? { ...headers, [STRAY_HEADER]: origin } : headers };
  }

  #macOf({ tenant, topic, value }: Sealed, partition: number, origin: string): string {
    const mac = createHmac('sha256', this.#key)
      .update(JSON.stringify([topic, partition, tenant, origin]))
      .update(value);
    return mac.digest('hex').slice(0, SEAL_DIGITS);
  }
}
