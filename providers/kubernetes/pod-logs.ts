import { ProviderError } from '../provider.ts';
import type { Cluster } from './cluster.ts';
import { JOB_CONTAINER, type Pod } from './pod.ts';
import { jobContainer } from './pod-end.ts';

/** Logs whose place or length is remembered, 200 bytes each; of the others the next reading begins at their beginning. */
const PLACES_LIMIT = 10_000;
/** Of one reading, with the times of its lines; made larger where one second alone has more. */
const READ_BYTES = 4 * 1024 * 1024;
const MOST_READ_BYTES = 64 * 1024 * 1024;
const STEPS_LIMIT = 1_000;
/** `2027-01-01T00:00:00.123456789Z `, which stands before each line that was asked for with its time. */
const STAMPED = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d) /;

/** Where a reading goes on: the first line of a second, which is all that `sinceTime` can name. */
interface Place {
  /** As the kubelet wrote it; undefined: the log's beginning. */
  readonly stamp: string | undefined;
  /** Bytes of the log before that line. */
  readonly offset: number;
}

const BEGINNING: Place = { stamp: undefined, offset: 0 };

/**
 * Logs of pods by byte offset, which Kubernetes does not have: it reads from a second on. So the lines are asked for with their times, of which the place is
 * kept where the last reading ended, and the times are taken off again. What the kubelet has rotated away (10 MiB by default) is not to be had any more.
 */
export class PodLogs {
  readonly #cluster: Cluster;
  readonly #readBytes: number;
  /** By the pod's uid. */
  readonly #places = new Map<string, Place>();
  /** Of pods that have ended, as they were once counted: their logs do not grow any more. */
  readonly #lengths = new Map<string, number>();

  /** `readBytes`: of the first try of a reading; only tests say it. */
  constructor(cluster: Cluster, readBytes = READ_BYTES) {
    this.#cluster = cluster;
    this.#readBytes = readBytes;
  }

  /** At most `maxBytes` of a pod's log from `fromByte`; empty where there is no more now. Throws ProviderError; `not_found` where the pod is gone. */
  async read(pod: Pod, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    const uid = pod.metadata.uid ?? pod.metadata.name;
    const known = this.#places.get(uid);
    let place = known !== undefined && known.offset <= fromByte ? known : BEGINNING;
    let limit = this.#readBytes;
    for (let step = 0; step < STEPS_LIMIT; step++) {
      const stamped = await this.#stamped(pod, place, limit, signal);
      const { bytes, next } = plain(stamped, place);
      if (next.offset <= fromByte) keep(this.#places, uid, next);
      const begin = fromByte - place.offset;
      // Some of what was asked for is an answer; nothing at all would say that there is no more.
      if (stamped.length < limit || bytes.length > begin) return bytes.subarray(begin).subarray(0, maxBytes);
      if (next.offset > place.offset) place = next;
      else if (limit < MOST_READ_BYTES) limit *= 4;
      else break;
    }
    throw new ProviderError('transient', `the log of ${pod.metadata.name} has too much in one second`);
  }

  /** How many bytes its log has now, counted until there are more than `enough`. */
  async length(pod: Pod, signal: AbortSignal, enough = Number.POSITIVE_INFINITY): Promise<number> {
    const uid = pod.metadata.uid ?? pod.metadata.name;
    const counted = this.#lengths.get(uid);
    if (counted !== undefined) return counted;
    let at = this.#places.get(uid)?.offset ?? 0;
    while (at <= enough) {
      const { length } = await this.read(pod, at, MOST_READ_BYTES, signal);
      if (length === 0) break;
      at += length;
    }
    if (jobContainer(pod)?.state?.terminated !== undefined) keep(this.#lengths, uid, at);
    return at;
  }

  async #stamped(pod: Pod, { stamp }: Place, limitBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    const { name, namespace = 'default' } = pod.metadata;
    const container = pod.spec?.containers?.some((one) => one.name === JOB_CONTAINER) ? JOB_CONTAINER : undefined;
    const query = {
      container,
      timestamps: true,
      limitBytes,
      sinceTime: stamp === undefined ? undefined : secondOf(stamp),
    };
    const path = `/api/v1/namespaces/${namespace}/pods/${name}/log`;
    return this.#cluster.bytes({ path, query, doing: `reading the log of ${name}`, signal }, limitBytes);
  }
}

function keep<T>(kept: Map<string, T>, uid: string, value: T): void {
  kept.delete(uid);
  kept.set(uid, value);
  for (const oldest of kept.keys()) {
    if (kept.size <= PLACES_LIMIT) break;
    kept.delete(oldest);
  }
}

function secondOf(stamp: string): string {
  const [, second = '', , zone = 'Z'] = STAMPED.exec(`${stamp} `) ?? [];
  return `${second}${zone}`;
}

/** Lines without their times, and the place of the first line of the last second among them. */
function plain(stamped: Uint8Array, place: Place): { readonly bytes: Buffer; readonly next: Place } {
  const source = Buffer.from(stamped.buffer, stamped.byteOffset, stamped.byteLength);
  const lines: Buffer[] = [];
  let next = place;
  let offset = place.offset;
  let second = place.stamp === undefined ? undefined : secondOf(place.stamp);
  for (let at = 0; at < source.length; ) {
    const newline = source.indexOf(0x0a, at);
    const end = newline < 0 ? source.length : newline + 1;
    // A stamp that was cut off in its middle is none of the log.
    const match = STAMPED.exec(source.toString('latin1', at, Math.min(end, at + 64)));
    if (match === null) {
      // The time stands at the beginning of what the container wrote at once: of a long line only before its first part.
      if (newline < 0 && end - at < 40) break;
    } else if (secondOf(match[0].trimEnd()) !== second) {
      second = secondOf(match[0].trimEnd());
      next = { stamp: match[0].trimEnd(), offset };
    }
    const line = source.subarray(at + (match?.[0].length ?? 0), end);
    lines.push(line);
    offset += line.length;
    at = end;
  }
  return { bytes: Buffer.concat(lines), next };
}
