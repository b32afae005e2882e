import { describe, expect, test } from 'vitest';
import { jobProducer } from '../../../../core/ids.ts';
import { RefusedInput } from '../../../../core/refusal.ts';
import { retrainSpec } from '../../../../scoring/retrain/retrain-spec.ts';

const template = {
  name: 'digits-retrain',
  division: 'vision',
  resources: { cpus: 2 },
  pools: ['local'],
  run: 'python train.py',
  parameters: { seed: 1, model: 'mine', producer: 'me', evaluate: { slices: 4 } },
};
const given = {
  newVersion: 'digits-v2',
  suite: 'digits',
  bookingId: '01jd8m0000000000000000000a',
  demotedTickMs: Date.parse('2026-01-05T10:08:00Z'),
};

describe('the job of a retrain', () => {
  test('is the template with Merit’s own parameters over the model’s, and the rest untouched', () => {
    const spec = retrainSpec(template, given);
    expect(spec.parameters).toEqual({
      seed: 1,
      evaluate: { slices: 4 },
      model: 'digits-v2',
      suite: 'digits',
      producer: jobProducer(given.bookingId),
      demotedAtTick: '2026-01-05T10:08:00.000Z',
    });
    expect(spec).toMatchObject({ name: 'digits-retrain', cpuMilli: 2000, outputs: null });
  });

  test('takes spot first and starts off-peak, unless the template says otherwise', () => {
    expect(retrainSpec(template, given)).toMatchObject({ prefersSpot: true, offPeak: true });
    const told = { ...template, resources: { cpus: 2, use_spot: false }, schedule: { window: 'any' } };
    const spec = retrainSpec(told, given);
    expect(spec).toMatchObject({ useSpot: false });
    expect(Object.keys(spec)).not.toContain('prefersSpot');
    expect(Object.keys(spec)).not.toContain('offPeak');
  });

  test('is refused where the template is no job', () => {
    expect(() => retrainSpec({ ...template, pools: [] }, given)).toThrow(RefusedInput);
  });
});
