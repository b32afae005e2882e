import { allocate, copy } from './blocks';
import { fingerprint } from './fingerprint';
import { digests, DIGEST_BYTES, KEY_BYTES, keys } from './rows';
import { hashQueued, queueLength, queueMessage, SHA_PADDING, useQueue } from './sha256';
import { tenant, tenantLength } from './suites';

/**
 * The texts that rows are known by: the key, "tenant\nproducer\nreportId", and the content, the canonical form. Hashed some hundred at a
 * time by SHA-256, or at once by a fingerprint where no digests are asked for.
 */

/** A line's canonical form may be longer than the line: `1e20` becomes 21 digits. Most often it is not even of its length. */
const LONGER: usize = 6;
/** Behind this many bytes of texts they are hashed. */
const HELD: usize = 1 << 18;
const QUEUE_BYTES: usize = 16;

let withDigests: bool = false;
let room: usize = 0;
let used: usize = 0;
let contentLimit: usize = 0;

export function startTexts(rows: u32, lineLimit: usize, digestsToo: bool): void {
  withDigests = digestsToo;
  contentLimit = lineLimit * LONGER;
  room = allocate(HELD + 1024 + contentLimit + SHA_PADDING);
  useQueue(allocate((<usize>rows * 2 + 2) * QUEUE_BYTES));
}

/** Where the next row's content is to be written, up to contentBytes() of it. */
// @ts-ignore: decorator
@inline
export function contentAt(): usize {
  return room + used;
}

export function contentBytes(): usize {
  return contentLimit;
}

/** Takes the content that was written from contentAt to `end`, and the key. */
export function takeTexts(row: u32, end: usize, producer: usize, producerLength: usize, id: usize, idLength: usize): void {
  const content = contentAt();
  const key = end + SHA_PADDING;
  copy(key, tenant, tenantLength);
  let at = key + tenantLength;
  copy(at, producer, producerLength);
  at += producerLength;
  store<u8>(at, 0x0a);
  copy(at + 1, id, idLength);
  at += 1 + idLength;
  const keyTo = keys + <usize>row * KEY_BYTES;
  const digestTo = digests + <usize>row * DIGEST_BYTES;
  if (!withDigests) {
    fingerprint(content, end - content, digestTo);
    fingerprint(key, at - key, keyTo);
    return;
  }
  queueMessage(content, end - content, digestTo, <u32>DIGEST_BYTES);
  queueMessage(key, at - key, keyTo, <u32>KEY_BYTES);
  used = at + SHA_PADDING - room;
  if (used > HELD) finishTexts();
}

/** Hashes what is held. */
export function finishTexts(): void {
  if (queueLength() > 0) hashQueued();
  used = 0;
}
