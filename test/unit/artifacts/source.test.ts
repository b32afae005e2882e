import { describe, expect, test } from 'vitest';
import { outputsRefusal } from '../../../artifacts/source.ts';

const BOUNDS = { allowedFolders: ['/srv/merit/outputs'], allowedS3: ['s3://models/team-a'] };

describe('outputs', () => {
  test.each([
    ['file:///srv/merit/outputs'],
    ['file:///srv/merit/outputs/run-1'],
    ['s3://models/team-a'],
    ['s3://models/team-a/run-1/'],
  ])('may lie at %s', (uri) => expect(outputsRefusal(uri, BOUNDS)).toBeUndefined());

  test.each([
    ['another folder', 'file:///etc'],
    ['a folder that only begins alike', 'file:///srv/merit/outputs-of-others'],
    ['a folder reached by climbing', 'file:///srv/merit/outputs/../../../etc'],
    ['a folder reached by escaped climbing', 'file:///srv/merit/outputs/%2e%2e/%2e%2e/etc'],
    ['another bucket', 's3://payroll/team-a'],
    ['another prefix of the bucket', 's3://models/team-b'],
    ['a prefix that only begins alike', 's3://models/team-ab'],
    ['another scheme', 'gs://models/team-a'],
    ['no URI at all', 'models/team-a'],
  ])('may not lie in %s', (_what, uri) => {
    expect(outputsRefusal(uri, BOUNDS)?.field).toBe('outputs');
  });

  test('on S3 need an operator who names a prefix', () => {
    expect(outputsRefusal('s3://models/team-a', { ...BOUNDS, allowedS3: [] })?.mend).toContain('MERIT_S3_OUTPUTS');
  });
});
