import type { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { type Refusal, refuse } from '../core/refusal.ts';
import { type S3Reader, s3Reader } from '../platform/s3.ts';
import { openFileSource } from './source-files.ts';
import { openS3Source } from './source-s3.ts';

export interface OutputsEntry {
  /** Relative to the prefix, `/`-separated, as the source has it: not yet checked against the manifest's path rules. */
  readonly path: string;
  readonly size: number;
  /** Changes whenever the content does: mtime, inode and size of a file, the ETag of an S3 object. */
  readonly version: string;
}

export type OutputsListing =
  | { readonly kind: 'listed'; readonly entries: readonly OutputsEntry[] }
  | { readonly kind: 'refused'; readonly refusals: readonly Refusal[] };

/** The outputs prefix of a job, read after the job ended. */
export interface OutputsSource {
  /** Every file under the prefix, in no order, at most MAX_FILES. Throws OperatingError `not-found` where the prefix is not there. */
  list(signal: AbortSignal): Promise<OutputsListing>;
  /** The bytes of one entry. The stream fails with OperatingError `conflict` where they are not those of `entry.version`. */
  open(entry: OutputsEntry, signal: AbortSignal): Promise<Readable>;
}

export interface SourceOptions {
  /** Absolute folders that `file:` outputs may lie in: without this bound a job could name /etc as its outputs. */
  readonly allowedFolders: readonly string[];
  /** `s3://bucket/prefix` that `s3:` outputs may lie under: without it a job could have anything copied that this process may read. */
  readonly allowedS3: readonly string[];
  /** What `s3:` outputs are read by; undefined: the AWS SDK. */
  readonly s3?: S3Reader;
}

/** Why outputs may not be named, as far as their text tells: asked before a job runs. undefined: nothing speaks against them. */
export function outputsRefusal(uri: string, { allowedFolders, allowedS3 }: SourceOptions): Refusal | undefined {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url === undefined)
    return refuse('uri', 'outputs', 'is not a URI', 'write s3://bucket/prefix or leave outputs out');
  const below = (allowed: string) => `${url.href.replace(/\/+$/, '')}/`.startsWith(`${allowed.replace(/\/+$/, '')}/`);
  const allowed = url.protocol === 's3:' ? allowedS3 : allowedFolders.map((folder) => pathToFileURL(folder).href);
  if (url.search === '' && url.hash === '' && !url.pathname.includes('%2') && allowed.some(below)) return undefined;
  const mend =
    allowed.length === 0
      ? 'have the operator name its prefix in MERIT_S3_OUTPUTS, or leave outputs out'
      : `leave outputs out, or write below ${allowed.join(' or ')}`;
  return refuse('outputs_outside', 'outputs', 'is outside of what jobs may write to', mend);
}

/** The source for a URI, which is held to the allowed places once more. */
export async function openSource(uri: string, options: SourceOptions): Promise<OutputsSource | Refusal> {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  switch (url?.protocol) {
    case 'file:':
      return openFileSource(url, options.allowedFolders);
    case 's3:':
      return outputsRefusal(uri, options) ?? openS3Source(url, options.s3 ?? s3Reader);
    case undefined:
      return refuse('uri', 'outputs', 'is not a URI', 'write file:///absolute/folder');
    default:
      return refuse(
        'outputs_scheme',
        'outputs',
        'has a scheme other than file: or s3:',
        'write file:///absolute/folder',
      );
  }
}

export function isSource(value: OutputsSource | Refusal): value is OutputsSource {
  return 'open' in value;
}
