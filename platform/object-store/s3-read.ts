import { createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { OperatingError } from '../../core/operating-error.ts';
import type { ByteRange } from '../object-store.ts';
import { isNoSuchKey, s3Error, s3Status } from '../s3-errors.ts';
import { PART_BYTES_NOTE, type S3Place } from './s3-place.ts';

/** How often a reading that broke is taken up without a byte in between. */
const MAX_FRUITLESS_RESUMES = 5;

/**
 * The bytes of one version of an object. Where the connection breaks they go on where it broke, by the version's ETag; read whole, they are held to
 * the SHA-256 that S3 keeps, and the stream fails with OperatingError `storage` at its end where they differ.
 */
export async function openS3Read(place: S3Place, key: string, range: ByteRange): Promise<Readable | undefined> {
  const name = place.nameOf(key);
  const { from = 0, to } = range;
  if (to !== undefined && to <= from) return Readable.from([]);
  let first: GetObjectCommandOutput;
  try {
    first = await request(place, name, from, to, undefined);
  } catch (cause) {
    if (isNoSuchKey(cause)) return undefined;
    // Behind its end.
    if (s3Status(cause) === 416) return Readable.from([]);
    throw s3Error(`reading ${place.told(name)}`, cause);
  }
  const stream = Readable.from(bytes(place, name, from, to, first), { objectMode: false });
  // Where it is destroyed before it was read the generator never began, and lets nothing go.
  stream.once('close', () => (first.Body as Readable | undefined)?.destroy());
  return stream;
}

function request({ sdk, s3, bucket }: S3Place, name: string, from: number, to: number | undefined, etag?: string) {
  const whole = from === 0 && to === undefined;
  return s3.send(
    new sdk.GetObjectCommand({
      Bucket: bucket,
      Key: name,
      ...(whole ? { ChecksumMode: 'ENABLED' as const } : { Range: `bytes=${from}-${to === undefined ? '' : to - 1}` }),
      ...(etag === undefined ? {} : { IfMatch: etag }),
    }),
  );
}

async function* bytes(
  place: S3Place,
  name: string,
  from: number,
  to: number | undefined,
  first: GetObjectCommandOutput,
): AsyncGenerator<Buffer> {
  const check = from === 0 && to === undefined ? sumOf(first) : undefined;
  const end = from + (first.ContentLength ?? 0);
  let at = from;
  let reply: GetObjectCommandOutput | undefined = first;
  for (let fruitless = 0; at < end; fruitless++) {
    let body: Readable | undefined;
    try {
      reply ??= await request(place, name, at, to, first.ETag);
      body = reply.Body as Readable;
      for await (const chunk of body) {
        check?.add(chunk as Buffer);
        at += (chunk as Buffer).length;
        fruitless = 0;
        yield chunk as Buffer;
      }
      // A stream that ended early without an error is one that broke.
      if (at < end && fruitless >= MAX_FRUITLESS_RESUMES) throw new Error(`${at - from} of ${end - from} bytes came`);
    } catch (cause) {
      const told = s3Error(`reading ${place.told(name)}`, cause);
      if (told.code !== 'unreachable' && told.code !== 'timeout' && told.code !== 'capacity') throw told;
      if (fruitless >= MAX_FRUITLESS_RESUMES) throw told;
    } finally {
      body?.destroy();
    }
    if (at < end) place.watch.readResumed();
    reply = undefined;
  }
  if (check !== undefined && !check.holds())
    throw new OperatingError('storage', 'safe', `reading ${place.told(name)}`, {
      cause: 'its bytes are not those that were stored',
      mend: 'restore the object from a copy or an older version',
    });
}

/** Of a whole object: SHA-256 of its bytes; of one sent in parts: SHA-256 over those of its parts, and their number. */
function sumOf({ ChecksumSHA256: sum, Metadata: metadata }: GetObjectCommandOutput) {
  if (sum === undefined) return undefined;
  const [digest, parts] = sum.split('-');
  if (parts === undefined) {
    const hash = createHash('sha256');
    return { add: (chunk: Buffer) => void hash.update(chunk), holds: () => hash.digest('base64') === digest };
  }
  const partBytes = Number(metadata?.[PART_BYTES_NOTE]);
  // Written by others, in parts that we do not know.
  if (!Number.isSafeInteger(partBytes) || partBytes <= 0) return undefined;
  const all = createHash('sha256');
  let part: Hash = createHash('sha256');
  let room = partBytes;
  let count = 0;
  const close = () => {
    all.update(part.digest());
    part = createHash('sha256');
    room = partBytes;
    count++;
  };
  return {
    add: (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; ) {
        if (room === 0) close();
        const piece = chunk.subarray(at, at + room);
        part.update(piece);
        room -= piece.length;
        at += piece.length;
      }
    },
    holds: () => {
      close();
      return String(count) === parts && all.digest('base64') === digest;
    },
  };
}
