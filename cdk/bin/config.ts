/**
 * Prints the configuration that `name=value …` come to, as JSON, or one line that says what is wrong with them.
 * `make deploy` asks this before it builds or deploys anything.
 */
import { ConfigError, readConfig } from '../lib/config.ts';

const context = process.argv.slice(2).map((argument) => {
  const at = argument.indexOf('=');
  return [argument.slice(0, at), argument.slice(at + 1)];
});
try {
  console.log(JSON.stringify(readConfig(Object.fromEntries(context))));
} catch (error) {
  if (!(error instanceof ConfigError)) {
    throw error;
  }
  console.error(`webchat: ${error.message}`);
  process.exit(1);
}
