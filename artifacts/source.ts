import type { Readable } from 'node:stream';
import { type Refusal, refuse } from '../core/refusal.ts';
import { openFileSource } from './source-files.ts';

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
}

/** The source for a URI. `s3:` gets its own file with the cloud issue; the refusal says what it needs. */
export async function openSource(uri: string, options: SourceOptions): Promise<OutputsSource | Refusal> {
  let url: URL;
  try {
    url = new URL(uri);
  } catch {
    return refuse('uri', 'outputs', 'is not a URI', 'write file:///absolute/folder');
  }
  switch (url.protocol) {
    case 'file:':
      return openFileSource(url, options.allowedFolders);
    case 's3:':
      return refuse(
        'outputs_scheme',
        'outputs',
        'outputs scheme s3 needs the S3 adapter, which this build does not have',
        'write file:///absolute/folder',
      );
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
