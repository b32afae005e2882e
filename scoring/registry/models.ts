import { canonicalText, contentHash, type Json } from '../../core/canonical.ts';
import { nameRefusal } from '../../core/ids.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { lockSubject } from './lock-subject.ts';
import type { ModelDocument } from './model-document.ts';
import { MAX_LISTED, type Requester } from './suites.ts';

/** Registers a model or changes its entry; throws RefusedInput where its division or suite is unknown. */
export async function registerModel(
  tx: Tx,
  by: Requester,
  model: ModelDocument,
): Promise<'created' | 'updated' | 'unchanged'> {
  const { tenant } = by;
  await lockSubject(tx, tenant, `model/${model.name}`);
  const refusals = [];
  const division = await tx.query('select 1 from divisions where tenant = $1 and division = $2', [
    tenant,
    model.division,
  ]);
  if (division.length === 0) {
    refusals.push(
      refuse(
        'unknown_division',
        'division',
        `${model.division} does not exist`,
        'name a division that a pool grants a quota to',
      ),
    );
  }
  const suite = await tx.query('select 1 from suites where tenant = $1 and suite = $2 and active', [
    tenant,
    model.suite,
  ]);
  if (suite.length === 0)
    refusals.push(refuse('unknown_suite', 'suite', `${model.suite} does not exist`, 'apply the suite first'));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const retrain = model.retrain ?? null;
  const retrainWhen = model.retrainWhen ?? null;
  const before = (
    await tx.query<{ division: string; suite: string; retrain: Json; retrainWhen: Json }>(
      'select division, suite, retrain, retrain_when as "retrainWhen" from models where tenant = $1 and model = $2',
      [tenant, model.name],
    )
  )[0];
  const next = { division: model.division, suite: model.suite, retrain, retrainWhen };
  if (before !== undefined && canonicalText(before) === canonicalText(next)) return 'unchanged';
  const template = retrain === null ? null : JSON.stringify(retrain);
  const triggers = retrainWhen === null ? null : JSON.stringify(retrainWhen);
  if (before === undefined) {
    await tx.execute(
      'insert into models (tenant, model, division, suite, retrain, retrain_when, created_by) values ($1, $2, $3, $4, $5, $6, $7)',
      [tenant, model.name, model.division, model.suite, template, triggers, by.actor],
    );
  } else {
    await tx.execute(
      'update models set division = $3, suite = $4, retrain = $5, retrain_when = $6, updated_at = clock_timestamp() where tenant = $1 and model = $2',
      [tenant, model.name, model.division, model.suite, template, triggers],
    );
  }
  await audit(tx, by, model.name, before === undefined ? 'model.registered' : 'model.changed', {
    division: model.division,
    suite: model.suite,
    retrain: retrain === null ? null : contentHash(retrain),
    ...(retrainWhen === null ? {} : { retrainWhen: retrainWhen as Json }),
  });
  return before === undefined ? 'created' : 'updated';
}

export interface NewVersion {
  readonly model: string;
  /** The name that its reports carry as `model`. */
  readonly version: string;
  /** Seats it without a contest: an operator's word, audited as such. */
  readonly seat?: boolean;
}

/** Adds a version by hand; it becomes a candidate of the model's suite. Throws RefusedInput. */
export async function addVersion(tx: Tx, by: Requester, given: NewVersion): Promise<'created' | 'unchanged'> {
  const { tenant } = by;
  const bad = nameRefusal('version', given.version);
  if (bad !== undefined) throw new RefusedInput([bad]);
  await lockSubject(tx, tenant, `model/${given.model}`);
  const suite = await suiteOfModel(tx, tenant, given.model);
  const present = (
    await tx.query<{ model: string; retired_at: Date | null }>(
      'select model, retired_at from model_versions where tenant = $1 and version = $2',
      [tenant, given.version],
    )
  )[0];
  if (present !== undefined && (present.model !== given.model || present.retired_at !== null)) {
    const problem = present.model === given.model ? 'is retired' : `is a version of ${present.model}`;
    throw new RefusedInput([refuse('taken', 'version', problem, 'choose another name')]);
  }
  if (present === undefined) {
    await tx.execute(
      `insert into model_versions (tenant, version, model, source, created_by) values ($1, $2, $3, 'manual', $4)`,
      [tenant, given.version, given.model, by.actor],
    );
  }
  const seat = given.seat ?? false;
  const changed = await tx.execute(
    `insert into candidates (tenant, suite, version, state, seat, actor, trace_id) values ($1, $2, $3, 'registered', $4, $5, $6)
     on conflict (tenant, suite, version) do update set state = 'registered', seat = $4, actor = $5, trace_id = $6
     where candidates.state = 'withdrawn' or $4`,
    [tenant, suite, given.version, seat, by.actor, by.traceId],
  );
  if (changed === 0) return 'unchanged';
  await audit(tx, by, given.model, 'model.version', { version: given.version, source: 'manual', suite, seat });
  return present === undefined ? 'created' : 'unchanged';
}

/** Points an alias at a version of the same model. */
export async function setAlias(tx: Tx, by: Requester, model: string, alias: string, version: string): Promise<void> {
  const bad = nameRefusal('alias', alias);
  if (bad !== undefined) throw new RefusedInput([bad]);
  await lockSubject(tx, by.tenant, `model/${model}`);
  await requireVersion(tx, by.tenant, model, version);
  await tx.execute(
    `insert into model_aliases (tenant, model, alias, version) values ($1, $2, $3, $4)
     on conflict (tenant, model, alias) do update set version = excluded.version, updated_at = clock_timestamp()`,
    [by.tenant, model, alias, version],
  );
  await audit(tx, by, model, 'model.alias', { alias, version });
}

/** From now on its reports are set aside. The incumbent of a suite must leave its seat first. */
export async function retireVersion(tx: Tx, by: Requester, model: string, version: string): Promise<void> {
  await lockSubject(tx, by.tenant, `model/${model}`);
  await requireVersion(tx, by.tenant, model, version);
  const seated = await tx.query<{ suite: string }>('select suite from seats where tenant = $1 and version = $2', [
    by.tenant,
    version,
  ]);
  if (seated[0] !== undefined) {
    throw new RefusedInput([
      refuse('seated', 'version', `is the incumbent of ${seated[0].suite}`, 'seat another version first'),
    ]);
  }
  const changed = await tx.execute(
    'update model_versions set retired_at = $3 where tenant = $1 and version = $2 and retired_at is null',
    [by.tenant, version, new Date(by.nowMs)],
  );
  if (changed === 0) return;
  await tx.execute(`update candidates set state = 'withdrawn' where tenant = $1 and version = $2`, [
    by.tenant,
    version,
  ]);
  await audit(tx, by, model, 'model.retired', { version });
}

async function suiteOfModel(tx: Tx, tenant: string, model: string): Promise<string> {
  const row = (
    await tx.query<{ suite: string }>('select suite from models where tenant = $1 and model = $2', [tenant, model])
  )[0];
  if (row === undefined)
    throw new RefusedInput([refuse('unknown_model', 'model', 'is not registered', 'register the model first')]);
  return row.suite;
}

async function requireVersion(tx: Tx, tenant: string, model: string, version: string): Promise<void> {
  const rows = await tx.query('select 1 from model_versions where tenant = $1 and model = $2 and version = $3', [
    tenant,
    model,
    version,
  ]);
  if (rows.length === 0) {
    throw new RefusedInput([
      refuse('unknown_version', 'version', `is not a version of ${model}`, 'add the version first'),
    ]);
  }
}

async function audit(
  tx: Tx,
  by: Requester,
  model: string,
  type: string,
  data: { readonly [key: string]: Json },
): Promise<void> {
  await appendAudit(tx, {
    tenant: by.tenant,
    subject: `model/${model}`,
    type,
    at: formatRfc3339(by.nowMs),
    actor: by.actor,
    trace: by.traceId,
    data,
  });
}

export interface ModelEntry {
  readonly model: string;
  readonly division: string;
  readonly suite: string;
  readonly retrain: unknown;
  readonly createdAt: string;
  readonly versions: readonly VersionEntry[];
  /** alias → version. */
  readonly aliases: { readonly [alias: string]: string };
}

export interface VersionEntry {
  readonly version: string;
  readonly source: 'manual' | 'retrain';
  readonly bookingId: string | null;
  readonly createdAt: string;
  readonly retiredAt: string | null;
  readonly role: 'incumbent' | 'candidate' | null;
}

interface ModelRow {
  readonly model: string;
  readonly division: string;
  readonly suite: string;
  readonly retrain: unknown;
  readonly created_at: Date;
  readonly versions: readonly VersionEntry[] | null;
  readonly aliases: { readonly [alias: string]: string } | null;
}

/** Times are written by the database in the form of Date.toISOString. */
const MODEL_QUERY = `
  select m.model, m.division, m.suite, m.retrain, m.created_at,
    (select jsonb_agg(jsonb_build_object('version', v.version, 'source', v.source, 'bookingId', v.booking_id,
        'createdAt', to_char(v.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'retiredAt', to_char(v.retired_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'role', (select case when s.version = v.version then 'incumbent' when c.state <> 'withdrawn' then 'candidate' end
                 from candidates c left join seats s using (tenant, suite)
                 where c.tenant = v.tenant and c.suite = m.suite and c.version = v.version)) order by v.created_at, v.version)
     from model_versions v where v.tenant = m.tenant and v.model = m.model) as versions,
    (select jsonb_object_agg(a.alias, a.version) from model_aliases a where a.tenant = m.tenant and a.model = m.model) as aliases
  from models m where m.tenant = $1`;

export async function listModels(
  tx: Tx,
  tenant: string,
  limit = MAX_LISTED,
  afterName = '',
): Promise<readonly ModelEntry[]> {
  const rows = await tx.query<ModelRow>(`${MODEL_QUERY} and m.model > $2 order by m.model collate "C" limit $3`, [
    tenant,
    afterName,
    Math.min(limit, MAX_LISTED),
  ]);
  return rows.map(modelEntry);
}

export async function getModel(tx: Tx, tenant: string, model: string): Promise<ModelEntry | undefined> {
  const rows = await tx.query<ModelRow>(`${MODEL_QUERY} and m.model = $2`, [tenant, model]);
  return rows[0] === undefined ? undefined : modelEntry(rows[0]);
}

function modelEntry(row: ModelRow): ModelEntry {
  return {
    model: row.model,
    division: row.division,
    suite: row.suite,
    retrain: row.retrain,
    createdAt: row.created_at.toISOString(),
    versions: row.versions ?? [],
    aliases: row.aliases ?? {},
  };
}
