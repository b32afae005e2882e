export { checkAttempt, checkKey, isKey } from './attempt-check.ts';
export { cleanMessage, MESSAGE_LIMIT_BYTES } from './clean-message.ts';
export {
  type AttemptSpec,
  CAPABILITY_NAMES,
  type Capabilities,
  defineProvider,
  type EndOutcome,
  type FlavourCapacity,
  type Handle,
  KIND_FORM,
  type Observation,
  type Offer,
  type OpenContext,
  type OptionProblem,
  type Owned,
  type PoolFlavour,
  PROVIDER_CONTRACT_VERSION,
  type Provider,
  type ProviderClock,
  type ProviderDefinition,
  type Usage,
  VERB_NAMES,
  type Verbs,
  WINDOW_LIMIT_MS,
  WORD_LIMIT,
} from './contract.ts';
export {
  EFFECTS,
  type Effect,
  isProviderError,
  PROVIDER_ERROR_CODES,
  ProviderError,
  type ProviderErrorCode,
} from './errors.ts';
export { defineTestBackend, JOBS_AT_ONCE, type TestBackend, type TestBackendDefinition } from './test-backend.ts';
export { unknownOptions } from './unknown-options.ts';
export { readWorkdir, type WorkdirFile } from './workdir.ts';
