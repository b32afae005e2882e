import { createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { CompletedPart, MultipartUpload, Part, S3Client } from '@aws-sdk/client-s3';
import { OperatingError } from '../../core/operating-error.ts';
import { isNoSuchKey, s3Error, s3ErrorName, s3Status } from '../s3-errors.ts';
import { PART_BYTES_NOTE, type S3Place } from './s3-place.ts';

/** What is longer is sent in parts. */
export const PART_BYTES = 8 * 1024 ** 2;
/** S3 takes no more parts of an object; what would have more has larger ones. */
const MAX_PARTS = 10_000;
/** Parts of one object on their way at a time. */
const PARTS_AT_A_TIME = 2;
/** Of one object, in parts: those on their way, the one that is gathered, and the next one's beginning. */
const PARTS_HELD = PARTS_AT_A_TIME + 2;
/** All uploads of this process hold at most this much; one object whose own parts are larger is sent alone. */
const MAX_UPLOAD_BYTES_HELD = 128 * 1024 ** 2;
/** An unfinished upload that nobody has added to for so long belongs to nobody. */
const STALE_UPLOAD_MS = 24 * 3_600_000;
/** Unfinished uploads looked at: of one object, and in one sweep. */
const MAX_UPLOADS_OF_KEY = 1_000;
const MAX_UPLOADS_SWEPT = 10_000;

/** Waits, in turn, until what an upload holds has room. */
export class UploadBudget {
  #held = 0;
  readonly #waiting: { readonly bytes: number; readonly go: () => void }[] = [];

  async with<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    const share = Math.min(bytes, MAX_UPLOAD_BYTES_HELD);
    await new Promise<void>((go) => {
      this.#waiting.push({ bytes: share, go });
      this.#admit();
    });
    try {
      return await work();
    } finally {
      this.#held -= share;
      this.#admit();
    }
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#held + next.bytes > MAX_UPLOAD_BYTES_HELD) return;
      this.#waiting.shift();
      this.#held += next.bytes;
      next.go();
    }
  }
}

/** Parts of the same size, so that a second run finds those of the first. */
export function partBytesFor(size: number | undefined): number {
  const needed = Math.ceil((size ?? 0) / MAX_PARTS);
  return Math.max(PART_BYTES, Math.ceil(needed / 1024 ** 2) * 1024 ** 2);
}

/**
 * Streams into S3, in parts where it is longer than one. An earlier upload of the same key that broke is taken up: a part that is there with the same
 * size and SHA-256 is not sent again. The source is read from its beginning either way, for its SHA-256. undefined: with `ifAbsent`, another one is there.
 */
export async function uploadStream(
  place: S3Place,
  budget: UploadBudget,
  name: string,
  body: Readable,
  options: { readonly ifAbsent: boolean; readonly size: number | undefined },
): Promise<{ readonly size: number; readonly sha256: string } | undefined> {
  const { Upload } = await import('@aws-sdk/lib-storage');
  const partSize = partBytesFor(options.size);
  const sum: Sum = { hash: createHash('sha256'), size: 0, broke: undefined };
  return budget.with(partSize * PARTS_HELD, async () => {
    const resuming = new ResumingClient(place, name, partSize);
    const upload = new Upload({
      client: resuming.client,
      params: {
        Bucket: place.bucket,
        Key: name,
        Body: Readable.from(counted(body, sum), { objectMode: false, highWaterMark: 1 }),
        ChecksumAlgorithm: 'SHA256',
        Metadata: { [PART_BYTES_NOTE]: String(partSize) },
        ...(options.ifAbsent ? { IfNoneMatch: '*' } : {}),
      },
      partSize,
      queueSize: PARTS_AT_A_TIME,
      leavePartsOnError: true,
    });
    try {
      await upload.done();
    } catch (cause) {
      if (sum.broke !== undefined) throw sum.broke;
      if (!options.ifAbsent || s3Status(cause) !== 412) throw cause;
      await resuming.abort();
      return undefined;
    }
    return { size: sum.size, sha256: sum.hash.digest('hex') };
  });
}

/** The sender's stream broke: that, and not S3, is at fault. */
export class SourceBroke extends Error {
  override name = 'SourceBroke';
}

interface Sum {
  readonly hash: Hash;
  size: number;
  broke: SourceBroke | undefined;
}

async function* counted(body: Readable, sum: Sum): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of body) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer);
      sum.hash.update(bytes);
      sum.size += bytes.length;
      yield bytes;
    }
  } catch (cause) {
    sum.broke = new SourceBroke('the source broke', { cause });
    throw sum.broke;
  }
}

interface KnownPart {
  readonly size: number;
  readonly etag: string;
  readonly sha256: string;
}

/**
 * The SDK's client as `Upload` sees it: beginning an upload takes up one that broke, a part that is there already is not sent, and every digest is ours,
 * compared with what S3 says it has.
 */
class ResumingClient {
  readonly client: S3Client;
  readonly #place: S3Place;
  readonly #name: string;
  readonly #partBytes: number;
  readonly #digests = new Map<number, Buffer>();
  #known = new Map<number, KnownPart>();
  #uploadId: string | undefined;
  #resumed = 0;

  constructor(place: S3Place, name: string, partBytes: number) {
    this.#place = place;
    this.#name = name;
    this.#partBytes = partBytes;
    const send = (command: unknown) => this.#send(command);
    this.client = Object.create(place.s3, { send: { value: send } }) as S3Client;
  }

  async abort(): Promise<void> {
    if (this.#uploadId !== undefined) await abortUpload(this.#place, this.#name, this.#uploadId);
  }

  async #send(command: unknown): Promise<unknown> {
    const { sdk, s3 } = this.#place;
    if (command instanceof sdk.CreateMultipartUploadCommand) {
      this.#uploadId = (await this.#broken()) ?? (await s3.send(command)).UploadId;
      return { UploadId: this.#uploadId };
    }
    if (command instanceof sdk.UploadPartCommand) return this.#part(command.input);
    if (command instanceof sdk.CompleteMultipartUploadCommand) return this.#complete(command);
    return s3.send(command as InstanceType<typeof sdk.PutObjectCommand>);
  }

  /** The newest upload of this object that broke after a part of our size was there. */
  async #broken(): Promise<string | undefined> {
    const uploads: MultipartUpload[] = [];
    for await (const upload of unfinished(this.#place, this.#name, MAX_UPLOADS_OF_KEY))
      if (upload.Key === this.#name) uploads.push(upload);
    uploads.sort((a, b) => (b.Initiated?.getTime() ?? 0) - (a.Initiated?.getTime() ?? 0));
    const [newest] = uploads;
    if (newest?.UploadId === undefined) return undefined;
    const known = new Map<number, KnownPart>();
    for await (const { PartNumber, Size, ETag, ChecksumSHA256 } of partsOf(this.#place, this.#name, newest.UploadId)) {
      if (PartNumber === undefined || Size === undefined || ETag === undefined || ChecksumSHA256 === undefined)
        continue;
      known.set(PartNumber, { size: Size, etag: ETag, sha256: ChecksumSHA256 });
    }
    if (known.get(1)?.size !== this.#partBytes) return undefined;
    this.#known = known;
    return newest.UploadId;
  }

  async #part(input: import('@aws-sdk/client-s3').UploadPartCommandInput): Promise<CompletedPart> {
    const { sdk, s3 } = this.#place;
    const bytes = input.Body as Uint8Array;
    const number = input.PartNumber ?? 0;
    const digest = createHash('sha256').update(bytes).digest();
    const sha256 = digest.toString('base64');
    this.#digests.set(number, digest);
    const known = this.#known.get(number);
    if (known?.size === bytes.byteLength && known.sha256 === sha256) {
      this.#resumed++;
      return { ETag: known.etag, ChecksumSHA256: sha256 };
    }
    const {
      ChecksumAlgorithm: _,
      IfNoneMatch: __,
      ...sent
    } = input as typeof input & { readonly IfNoneMatch?: string };
    const { ETag, ChecksumSHA256 } = await s3.send(new sdk.UploadPartCommand({ ...sent, ChecksumSHA256: sha256 }));
    if (ETag === undefined || (ChecksumSHA256 !== undefined && ChecksumSHA256 !== sha256))
      throw new OperatingError('storage', 'safe', `storing part ${number} of ${this.#place.told(this.#name)}`, {
        cause: 'S3 tells of other bytes than were sent',
      });
    return { ETag, ChecksumSHA256: sha256 };
  }

  async #complete(command: import('@aws-sdk/client-s3').CompleteMultipartUploadCommand): Promise<unknown> {
    const { sdk, s3, bucket, told, watch } = this.#place;
    const numbers = [...this.#digests.keys()].sort((a, b) => a - b);
    const hash = createHash('sha256');
    for (const number of numbers) hash.update(this.#digests.get(number)!);
    const whole = `${hash.digest('base64')}-${numbers.length}`;
    if (this.#resumed > 0) watch.partsResumed(this.#resumed);
    try {
      const reply = await s3.send(command);
      if (reply.ChecksumSHA256 === undefined || reply.ChecksumSHA256 === whole) return reply;
    } catch (cause) {
      // A reply that was lost, and its repetition; or another writer of the same bytes was faster.
      if (s3ErrorName(cause) !== 'NoSuchUpload') throw cause;
      const found = await s3
        .send(new sdk.HeadObjectCommand({ Bucket: bucket, Key: this.#name, ChecksumMode: 'ENABLED' }))
        .catch(() => undefined);
      if (found?.ChecksumSHA256 === whole) return found;
      throw new OperatingError('conflict', 'safe', `storing ${told(this.#name)}`, {
        cause: 'its upload was ended by somebody else',
      });
    }
    throw new OperatingError('storage', 'safe', `storing ${told(this.#name)}`, {
      cause: 'S3 put together other bytes than were sent',
    });
  }
}

async function* unfinished(
  { sdk, s3, bucket, told }: S3Place,
  prefix: string,
  most: number,
): AsyncGenerator<MultipartUpload> {
  let KeyMarker: string | undefined;
  let UploadIdMarker: string | undefined;
  let seen = 0;
  try {
    do {
      const page = await s3.send(
        new sdk.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix, KeyMarker, UploadIdMarker }),
      );
      for (const upload of page.Uploads ?? []) {
        yield upload;
        if (++seen >= most) return;
      }
      KeyMarker = page.IsTruncated === true ? page.NextKeyMarker : undefined;
      UploadIdMarker = page.NextUploadIdMarker;
    } while (KeyMarker !== undefined);
  } catch (cause) {
    throw s3Error(`listing unfinished uploads of ${told(prefix)}`, cause);
  }
}

/** Page by page by IsTruncated: S3 names a next part also where there is none, and the SDK's own paginator goes on for ever. */
async function* partsOf({ sdk, s3, bucket }: S3Place, name: string, uploadId: string): AsyncGenerator<Part> {
  let after: string | undefined;
  do {
    const page = await s3.send(
      new sdk.ListPartsCommand({ Bucket: bucket, Key: name, UploadId: uploadId, PartNumberMarker: after }),
    );
    yield* page.Parts ?? [];
    after = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
  } while (after !== undefined);
}

async function abortUpload({ sdk, s3, bucket, told }: S3Place, name: string, uploadId: string): Promise<void> {
  try {
    await s3.send(new sdk.AbortMultipartUploadCommand({ Bucket: bucket, Key: name, UploadId: uploadId }));
  } catch (cause) {
    if (s3ErrorName(cause) !== 'NoSuchUpload' && !isNoSuchKey(cause))
      throw s3Error(`giving up an upload of ${told(name)}`, cause);
  }
}

/** Gives up uploads whose last part is older than STALE_UPLOAD_MS: S3 charges for them until somebody does. */
export async function abortStaleUploads(place: S3Place, base: string, nowMs: number): Promise<number> {
  let aborted = 0;
  for await (const { Key, UploadId, Initiated } of unfinished(place, base, MAX_UPLOADS_SWEPT)) {
    if (Key === undefined || UploadId === undefined) continue;
    let touchedMs = Initiated?.getTime() ?? nowMs;
    if (nowMs - touchedMs < STALE_UPLOAD_MS) continue;
    try {
      for await (const { LastModified } of partsOf(place, Key, UploadId))
        touchedMs = Math.max(touchedMs, LastModified?.getTime() ?? 0);
    } catch (cause) {
      if (s3ErrorName(cause) === 'NoSuchUpload') continue;
      throw s3Error(`looking at an upload of ${place.told(Key)}`, cause);
    }
    if (nowMs - touchedMs < STALE_UPLOAD_MS) continue;
    await abortUpload(place, Key, UploadId);
    aborted++;
  }
  return aborted;
}
