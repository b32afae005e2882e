import { durationMs } from '../../core/duration.ts';
import { jobSpec } from '../../core/job.ts';
import { JobFile } from '../../core/job-file.ts';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { check, type Static, Type } from '../../core/schema.ts';
import { scheduleRefusals } from '../../pools/cron.ts';
import { MAX_RETRAINABLE_NAME } from '../retrain/raise-retrain.ts';

const Name = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' });
const Slug = Type.String({ maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });

/** The registry entry of a model, as YAML or JSON brings it. */
export const ModelDocument = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Model'),
    name: Name,
    division: Slug,
    suite: Name,
    /** What a demotion books; without it the model is never retrained. */
    retrain: Type.Optional(JobFile),
    /** What else than a demotion books it. */
    retrainWhen: Type.Optional(
      Type.Object(
        {
          /** No version of the model is younger than this. */
          staleAfter: Type.Optional(Type.String({ maxLength: 16 })),
          schedule: Type.Optional(
            Type.Object(
              { cron: Type.String({ maxLength: 120 }), timeZone: Type.String({ maxLength: 64 }) },
              { additionalProperties: false },
            ),
          ),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false, $id: 'https://merit.local/schemas/model.json', title: 'Merit model' },
);

export type ModelDocument = Static<typeof ModelDocument>;

/** Checks a model's document, its retrain job included; throws RefusedInput with every refusal at once. */
export function parseModel(value: unknown): ModelDocument {
  const refusals: Refusal[] = [...check(ModelDocument, value)];
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const model = value as ModelDocument;
  if (model.retrain !== undefined) refusals.push(...retrainRefusals(model));
  if (model.retrainWhen !== undefined) refusals.push(...triggerRefusals(model));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return model;
}

/** Between two retrains by age: more often, and each would be due before the last one's version is seen. */
const MIN_STALE_MS = 3_600_000;

function triggerRefusals({ retrain, retrainWhen }: ModelDocument): readonly Refusal[] {
  const refusals: Refusal[] = [];
  if (retrain === undefined)
    refusals.push(
      refuse('required', 'retrain', 'is missing, though retrainWhen says when it is booked', 'add retrain:'),
    );
  const stale = retrainWhen?.staleAfter;
  const staleMs = stale === undefined ? undefined : durationMs(stale);
  if (stale !== undefined && staleMs === undefined)
    refusals.push(refuse('duration', 'retrainWhen.staleAfter', 'is not a duration', 'write 12h, 7d or 30d'));
  else if (staleMs !== undefined && staleMs < MIN_STALE_MS)
    refusals.push(refuse('range', 'retrainWhen.staleAfter', 'is under 1h', 'write 1h or more'));
  const schedule = retrainWhen?.schedule;
  if (schedule !== undefined) refusals.push(...scheduleRefusals(schedule, 'retrainWhen.schedule'));
  return refusals;
}

function retrainRefusals(model: ModelDocument): readonly Refusal[] {
  const refusals: Refusal[] = [];
  if (model.name.length > MAX_RETRAINABLE_NAME) {
    refusals.push(
      refuse('length', 'name', `is longer than ${MAX_RETRAINABLE_NAME}, which leaves no room for -v<N>`, 'shorten it'),
    );
  }
  if (model.retrain?.division !== model.division) {
    refusals.push(
      refuse('division', 'retrain.division', 'is not the division of the model', `write ${model.division}`),
    );
  }
  for (const field of ['array', 'depends_on'] as const) {
    if (model.retrain?.[field] !== undefined)
      refusals.push(
        refuse('unsupported', `retrain.${field}`, 'has no meaning for a retrain, which is one job', 'remove it'),
      );
  }
  try {
    jobSpec(model.retrain);
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    refusals.push(...error.refusals.map((one) => ({ ...one, field: `retrain.${one.field}` })));
  }
  return refusals;
}
