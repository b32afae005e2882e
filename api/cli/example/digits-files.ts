import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert } from '../../../core/assert.ts';
import { parseYaml } from '../../../platform/yaml.ts';

export const DIGITS_DIR = fileURLToPath(new URL('../../../examples/digits', import.meta.url));

type Document = { readonly [key: string]: unknown };

/** One round of the example: its documents as the files have them, under the round's own names, so that `--again` starts from nothing. */
export interface DigitsRound {
  readonly suiteName: string;
  readonly modelName: string;
  readonly incumbent: string;
  readonly pools: readonly Document[];
  readonly budget: Document;
  readonly suite: Document;
  readonly model: Document;
  /** Parameters of the incumbent's training; `outputs` is still to be added. */
  readonly training: Document;
}

async function document(name: string): Promise<Document> {
  const reading = parseYaml(await readFile(join(DIGITS_DIR, name), 'utf8'));
  assert(reading.ok, `examples/digits/${name} can be read`);
  return reading.value as Document;
}

/** `run` counts from 1. Without Python the retrain job is `train.mjs` on the local pool: same parameters, same files. */
export async function digitsRound(run: number, hasPython: boolean): Promise<DigitsRound> {
  const name = run === 1 ? 'digits' : `digits-${run}`;
  const incumbent = `${name}-v1`;
  const [suite, model, budget, training] = await Promise.all([
    document('suite.yaml'),
    document('model.yaml'),
    document('budget.yaml'),
    document('incumbent.json'),
  ]);
  const pools = await Promise.all(
    (hasPython ? ['ray-local', 'local'] : ['local']).map((pool) => document(join('pools', `${pool}.yaml`))),
  );
  const retrain = model.retrain as Document;
  return {
    suiteName: name,
    modelName: name,
    incumbent,
    pools,
    budget,
    suite: { ...suite, name },
    model: {
      ...model,
      name,
      suite: name,
      retrain: {
        ...retrain,
        model: name,
        name: `${name}-retrain`,
        ...(hasPython ? { pools: ['ray-local'] } : { pools: ['local'], run: 'node train.mjs' }),
      },
    },
    training: { ...training, model: incumbent, suite: name, producer: `${name}-live` },
  };
}
