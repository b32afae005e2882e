import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildManifest,
  fileSetRefusals,
  MAX_FILES,
  type ManifestFile,
  manifestBytes,
  manifestRefusals,
  manifestSha256,
  parseManifest,
} from '../../../artifacts/manifest.ts';
import { artifactsPrefix, MAX_PATH_BYTES, objectKey, pathRefusal } from '../../../artifacts/paths.ts';
import { RefusedInput } from '../../../core/refusal.ts';

const head = {
  tenant: 'acme',
  booking: '01jd0000000000000000000000',
  attempt: 1,
  job: 'digits-retrain',
  model: 'digits',
  provider: 'ray',
  outputsUri: 'file:///var/lib/merit/outputs/x',
  createdAt: '2026-11-23T10:00:00.000Z',
};
const file = (path: string, size = 1): ManifestFile => ({ path, size, sha256: 'a'.repeat(64) });

describe('the manifest', () => {
  it('has the same bytes whatever order its files came in', () => {
    const paths = ['model.joblib', 'reports.ndjson', 'a/b', 'a-b', 'ﬀ.bin'.normalize('NFC'), '\u{10000}', '\uffee'];
    fc.assert(
      fc.property(fc.shuffledSubarray(paths, { minLength: paths.length }), (shuffled) => {
        const sorted = buildManifest(
          head,
          paths.map((path) => file(path)),
        );
        expect(
          manifestSha256(
            buildManifest(
              head,
              shuffled.map((path) => file(path)),
            ),
          ),
        ).toBe(manifestSha256(sorted));
      }),
    );
  });

  it('sorts by code point, where UTF-16 order differs', () => {
    const manifest = buildManifest(head, [file('\u{10000}'), file('\uffee'), file('a')]);
    expect(manifest.files.map((entry) => entry.path)).toEqual(['a', '\uffee', '\u{10000}']);
  });

  it('comes back from its own bytes, and from no others', () => {
    const manifest = buildManifest(head, [file('a', 3), file('b', 4)]);
    const bytes = manifestBytes(manifest);
    expect(parseManifest(bytes)).toEqual(manifest);
    for (let i = 0; i < bytes.length; i++) {
      for (const bit of [0, 5]) {
        const flipped = Buffer.from(bytes);
        flipped[i]! ^= 1 << bit;
        const parsed = parseManifest(flipped);
        // A flip inside a text may give another lawful manifest: its hash is another one.
        if ('format' in parsed) expect(manifestSha256(parsed)).not.toBe(manifestSha256(manifest));
      }
    }
    expect(parseManifest(Buffer.from(`${bytes.toString()} `))).toMatchObject([{ code: 'not_canonical' }]);
    const doubled = bytes.toString().replace('"attempt":1', '"attempt":9,"attempt":1');
    expect(parseManifest(Buffer.from(doubled))).toMatchObject([{ code: 'duplicate_key' }]);
  });

  it('refuses a wrong sum, a wrong order and unknown members', () => {
    const manifest = buildManifest(head, [file('a'), file('b')]);
    const codes = (value: unknown) => manifestRefusals(value).map((refusal) => refusal.code);
    expect(codes({ ...manifest, totalBytes: 3 })).toEqual(['sum']);
    expect(codes({ ...manifest, files: manifest.files.toReversed() })).toEqual(['order']);
    expect(codes({ ...manifest, extra: 1 })).toEqual(['unknown_field']);
    expect(codes({ ...manifest, createdAt: 'yesterday' })).toEqual(['charset']);
    expect(codes({ ...manifest, files: [{ path: 'a', size: -1, sha256: 'x' }] })).not.toEqual([]);
    expect(codes(manifest)).toEqual([]);
  });

  it('of no files is a manifest', () => {
    expect(parseManifest(manifestBytes(buildManifest(head, [])))).toMatchObject({ totalBytes: 0, files: [] });
  });

  it('takes its greatest number of files and not one more', () => {
    const paths = Array.from({ length: MAX_FILES + 1 }, (_, i) => `f${i}`);
    expect(fileSetRefusals(paths.slice(1))).toEqual([]);
    expect(fileSetRefusals(paths)).toMatchObject([{ code: 'length' }]);
  });

  it('refuses names that are one file on some machine', () => {
    const codes = (...paths: string[]) => fileSetRefusals(paths).map((refusal) => refusal.code);
    expect(codes('a', 'a')).toEqual(['duplicate']);
    expect(codes('Model.bin', 'model.bin')).toEqual(['case_collision']);
    expect(codes('a', 'a/b')).toEqual(['prefix_collision']);
    expect(codes('a/b', 'a-b', 'ab')).toEqual([]);
  });

  it('tells every refused path at once', () => {
    let refused: unknown;
    try {
      buildManifest(head, [file('../x'), file('/y'), file('ok')]);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(RefusedInput);
    expect((refused as RefusedInput).refusals.length).toBe(2);
  });
});

describe('a path', () => {
  const hostile: readonly (readonly [string, string])[] = [
    ['', 'path'],
    ['/etc/passwd', 'path'],
    ['../up', 'path'],
    ['a/../../b', 'path'],
    ['a/./b', 'path'],
    ['a//b', 'path'],
    ['a/', 'path'],
    ['C:/x', 'path'],
    ['a\\b', 'charset'],
    ['a\nb', 'charset'],
    ['a\u0000b', 'charset'],
    ['a\u001b[31mb', 'charset'],
    ['a\u0085b', 'charset'],
    ['a\u202eb', 'charset'],
    ['a\u200bb', 'charset'],
    ['a\u2028b', 'charset'],
    ['e\u0301', 'encoding'],
    ['a\ud800', 'encoding'],
    ['x'.repeat(256), 'length'],
    ['x/'.repeat(MAX_PATH_BYTES), 'length'],
    [`${'d/'.repeat(33)}f`, 'depth'],
    ['é'.repeat(257), 'length'],
  ];
  it.each(hostile.map(([path, code]) => ({ shown: path.slice(0, 20), path, code })))(
    '$shown is refused as $code',
    ({ path, code }) => {
      expect(pathRefusal('p', path)?.code).toBe(code);
    },
  );

  it.each(['model.joblib', '.hidden', 'a/b/c', 'naïve file (1).txt', '模型.bin', '...', 'tag:1'])(
    '%j is taken',
    (path) => {
      expect(pathRefusal('p', path)).toBeUndefined();
    },
  );

  it('of 50 KB is refused before any pattern reads it', () => {
    expect(pathRefusal('p', `${'a'.repeat(50_000)}!`)?.code).toBe('length');
  });
});

describe('an object key', () => {
  const prefix = artifactsPrefix('acme', head.booking, 1);

  it('is made of what every store takes, and shows ordinary names', () => {
    expect(objectKey(prefix, 'sub/model-1.joblib')).toBe(`${prefix}/files/sub/model-1.joblib`);
    expect(objectKey(prefix, 'train_log.txt')).toBe(`${prefix}/files/train__log.txt`);
    expect(objectKey(prefix, '.hidden')).toBe(`${prefix}/files/_x2ehidden`);
  });

  it('belongs to one path only, fits 1,024 bytes, and has no part . or ..', () => {
    const segment = fc.string({
      unit: fc.constantFrom('a', '_', 'x', '2', 'e', '.', 'é', '模', ' ', 'p'),
      minLength: 1,
      maxLength: 60,
    });
    const path = fc
      .array(segment, { minLength: 1, maxLength: 6 })
      .map((segments) => segments.join('/'))
      .filter((text) => pathRefusal('p', text) === undefined);
    fc.assert(
      fc.property(path, path, (a, b) => {
        const [keyA, keyB] = [objectKey(prefix, a), objectKey(prefix, b)];
        expect(keyA === keyB).toBe(a === b);
        expect(keyA).toMatch(/^[A-Za-z0-9._/-]{1,1024}$/);
        expect(keyA.split('/').some((part) => part === '' || part.startsWith('.'))).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('of a very long path is a hash', () => {
    expect(objectKey(prefix, '模'.repeat(80))).toMatch(/\/files\/_p[0-9a-f]{64}$/);
  });
});
