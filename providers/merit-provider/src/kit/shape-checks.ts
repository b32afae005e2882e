import { CAPABILITY_NAMES, KIND_FORM, PROVIDER_CONTRACT_VERSION, VERB_NAMES, WINDOW_LIMIT_MS } from '../contract.ts';
import { type Check, hold, NotExercised, shown } from './check.ts';
import type { World } from './world.ts';

const CURRENCY = /^[A-Z]{3}$/;
/** Ray tells within ten seconds what was given back. */
const REST_MS = 15_000;
const OPTION_SURPLUS = 'merit_kit_unknown_option';
const CONFIG_SURPLUS = 'merit_kit_unknown_field';

/** Before anything else is tried. */
export const CONTRACT: Check = {
  name: 'contract',
  rule: 'the definition and what it opens have the form of the contract',
  run: async ({ definition, provider }) => {
    const { kind, contractVersion, configSchema, capabilities } = definition;
    hold(KIND_FORM.test(kind), `kind: ${shown(kind)} is not 1 to 63 of a-z, 0-9 and inner dashes`);
    hold(contractVersion === PROVIDER_CONTRACT_VERSION, `contractVersion: ${shown(contractVersion)} is not this kit's`);
    hold(typeof configSchema === 'object' && configSchema !== null, 'configSchema: is no JSON Schema');
    hold(provider.kind === kind, `what it opens is of kind ${shown(provider.kind)}`);
    hold(provider.contractVersion === contractVersion, 'what it opens has another contractVersion');
    const windowMs = provider.consistencyWindowMs;
    hold(
      Number.isSafeInteger(windowMs) && windowMs >= 0 && windowMs <= WINDOW_LIMIT_MS,
      `consistencyWindowMs: ${shown(windowMs)} is not a whole number from 0 to ${WINDOW_LIMIT_MS}`,
    );
    for (const name of CAPABILITY_NAMES) {
      hold(typeof capabilities[name] === 'boolean', `capabilities.${name}: must be true or false`);
      hold(
        typeof provider.capabilities[name] === 'boolean',
        `what it opens: capabilities.${name} must be true or false`,
      );
      hold(
        capabilities[name] || !provider.capabilities[name],
        `what it opens can ${name}, its definition says it cannot`,
      );
    }
    for (const name of [...VERB_NAMES, 'close'] as const)
      hold(typeof provider[name] === 'function', `what it opens has no ${name}`);
  },
};

const configRefused: Check = {
  name: 'config-refused',
  rule: 'a field that the config does not have is refused by its JSON Schema, before anything is opened',
  run: async ({ backend: { config }, checkConfig }) => {
    if (checkConfig === undefined) throw new NotExercised('only `merit providers test` has a validator of JSON Schema');
    const wrong = checkConfig(config);
    hold(wrong.length === 0, `the config of the test backend is refused: ${wrong.join('; ')}`);
    const refused = checkConfig({ ...(config as object), [CONFIG_SURPLUS]: true });
    hold(
      refused.some((text) => text.includes(CONFIG_SURPLUS)),
      'configSchema takes a field that it does not name: say additionalProperties: false',
    );
  },
};

const optionsRefused: Check = {
  name: 'options-refused',
  rule: 'an option of a job that the kind does not know is refused before the job is booked, by its field and with the mend',
  run: async ({ definition: { kind, checkOptions } }) => {
    if (checkOptions === undefined) throw new NotExercised('it checks options only when a job is tried');
    const root = `options.${kind}`;
    for (const given of [{ [OPTION_SURPLUS]: true }, [OPTION_SURPLUS], OPTION_SURPLUS]) {
      const problems = checkOptions(given);
      hold(Array.isArray(problems) && problems.length > 0, `checkOptions takes ${shown(given)}`);
      for (const one of problems) {
        const told = [one?.field, one?.problem, one?.mend].every((text) => typeof text === 'string' && text !== '');
        hold(told, `checkOptions tells ${shown(one)}, which is no field, problem and mend`);
        hold(one.field === root || one.field.startsWith(`${root}.`), `field ${shown(one.field)} is not in ${root}`);
      }
    }
    const fields = checkOptions({ [OPTION_SURPLUS]: true }).map(({ field }) => field);
    hold(fields.includes(`${root}.${OPTION_SURPLUS}`), `checkOptions does not name the option, but ${shown(fields)}`);
  },
};

const capacityTold: Check = {
  name: 'capacity-told',
  rule: 'capacity and offers are whole amounts, one of each flavour, what is free at most what is there',
  run: async ({ provider, signal }) => {
    const told = await provider.capacity(signal);
    hold(new Set(told.map((one) => one.flavour)).size === told.length, 'capacity names a flavour twice');
    for (const one of told) {
      for (const [total, free] of [
        [one.totalGpuMilli, one.freeGpuMilli],
        [one.totalCpuMilli, one.freeCpuMilli],
      ]) {
        hold(typeof total === 'bigint' && typeof free === 'bigint', `an amount of ${one.flavour} is no bigint`);
        hold(free >= 0n && free <= total, `of ${one.flavour} ${free} milli are free, ${total} are there`);
      }
    }
    for (const offer of await provider.offers(signal)) {
      const known = told.length === 0 || told.some((one) => one.flavour === offer.flavour);
      hold(known, `it offers ${shown(offer.flavour)}, which capacity does not name`);
      hold(typeof offer.spot === 'boolean', `the offer of ${offer.flavour} does not say whether it is spot`);
      hold(CURRENCY.test(offer.currency), `the offer of ${offer.flavour} has currency ${shown(offer.currency)}`);
      hold(
        typeof offer.centsPerUnitHour === 'bigint' && offer.centsPerUnitHour >= 0n,
        `the price of ${offer.flavour} is ${shown(offer.centsPerUnitHour)}`,
      );
    }
  },
};

const capacityFollows: Check = {
  name: 'capacity-follows',
  rule: 'what a job holds is not free while it runs, and is free again after its release',
  // Other jobs hold some, too.
  alone: true,
  run: async (world) => {
    if ((await amountsOf(world)) === undefined) throw new NotExercised('it does not say what capacity there is');
    const before = await freeAtRest(world);
    const { key } = await world.running();
    await world.eventually('less is free', async () => (await free(world)) < before);
    await world.release(key);
    await world.eventually('as much is free as before', async () => (await free(world)) >= before);
  },
};

interface Amounts {
  readonly free: bigint;
  readonly total: bigint;
}

/** Of what the kit's jobs hold. */
async function amountsOf(world: World): Promise<Amounts | undefined> {
  const { flavour, resources } = world.spec({});
  const found = (await world.provider.capacity(world.signal)).find((one) => one.flavour === flavour);
  if (found === undefined) return undefined;
  return resources.gpuMilli > 0n
    ? { free: found.freeGpuMilli, total: found.totalGpuMilli }
    : { free: found.freeCpuMilli, total: found.totalCpuMilli };
}

async function free(world: World): Promise<bigint> {
  return (await amountsOf(world))?.free ?? 0n;
}

/** What jobs of earlier checks held may be told some seconds late: the most that is free in a while, or all there is. */
async function freeAtRest(world: World): Promise<bigint> {
  let most = 0n;
  for (const untilMs = world.clock.now() + REST_MS; world.clock.now() < untilMs; await world.rest()) {
    const now = await amountsOf(world);
    if (now !== undefined && now.free > most) most = now.free;
    if (now !== undefined && now.free === now.total) break;
  }
  return most;
}

export const SHAPE_CHECKS: readonly Check[] = [configRefused, optionsRefused, capacityTold, capacityFollows];
