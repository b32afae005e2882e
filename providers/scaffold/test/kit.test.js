import { describe, test } from 'node:test';
import { CHECK_NAMES, describeProvider } from 'merit-provider/kit';
import provider from '../src/provider.js';

// The simulator can show every fault; the schema of the config is tried by `merit providers test`, which has a validator.
const required = CHECK_NAMES.filter((name) => name !== 'config-refused');

describeProvider(provider, { required }, { describe, test });
