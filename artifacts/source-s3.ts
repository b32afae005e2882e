import { type Refusal, refuse } from '../core/refusal.ts';
import type { S3Reader } from '../platform/s3.ts';
import { MAX_FILES } from './manifest.ts';
import type { OutputsEntry, OutputsSource } from './source.ts';

/** Objects below an S3 prefix. An empty prefix is an empty listing: S3 knows no folders. */
export function openS3Source(url: URL, s3: S3Reader): OutputsSource {
  const bucket = url.hostname;
  const prefix = `${decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, '')}/`;
  return {
    list: async (signal) => {
      const entries: OutputsEntry[] = [];
      for await (const { key, size, etag } of s3.list(bucket, prefix, signal)) {
        // The mark that consoles leave for an empty folder.
        if (key.endsWith('/') && size === 0) continue;
        if (entries.length === MAX_FILES) return { kind: 'refused', refusals: [tooMany()] };
        entries.push({ path: key.slice(prefix.length), size, version: etag });
      }
      return { kind: 'listed', entries };
    },
    open: ({ path, version }, signal) => s3.get(bucket, prefix + path, version, signal),
  };
}

function tooMany(): Refusal {
  return refuse('too_many', 'outputs', `has more than ${MAX_FILES} objects`, 'pack small files together');
}
