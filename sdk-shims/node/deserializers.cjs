// Knows the packages whose work is to make objects of text, functions among them, and says whether text holds code.
//
// `detections.cjs` calls it for `code.deserialize` of the policy. It goes by the names of folders: a package inside a bundle
// is not known again. It decides nothing.
'use strict';

const origin = require('./origin.cjs');

const KNOWN = /\/node_modules\/(node-serialize|serialize-to-js|serialijse|funcster|cryo|eval-deserialize|jsonfn|json-fn|js-yaml|js-yaml-js-types)\//;
/** What makes all of its objects by evaluation, data and code alike: there the text decides. The others evaluate nothing but
 * functions. */
const OF_TEXT = 'serialize-to-js';
/** What that package and safer-eval below it write around the text themselves. */
const AROUND = /^(?:\(function \(\) \{"use strict";\n(?:Object\.constructor = function \(\) \{\};\n)?return |(?:"use strict"; )?return )/;
const END = /;\n\}\)\(\)$/;
/** How packages look for the global object and what is in it, and what funcster evaluates where no function is. */
const EVERYDAY = /^return [\w$]+;?$|^module\.exports=\(function\(module,exports\)\{return\{\};\}\)\(\);$/;
/** What stands for values: brackets, texts, keys, numbers, words of the language, and constructors that run nothing that
 * they are given. A regular expression between slashes cannot be told from a division without a parser. */
const VALUE = new RegExp(
  [
    /[\s{}[\],)]+/,
    /"(?:[^"\\\n]|\\[^])*"(?:\s*:)?/,
    /'(?:[^'\\\n]|\\[^])*'(?:\s*:)?/,
    /[\w$]+\s*:/,
    /-?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|Infinity)(?![\w$.])/,
    /(?:NaN|null|true|false|undefined)(?![\w$.])/,
    /new (?:Date|RegExp|Map|Set|URL|Number|String|Boolean|(?:Eval|Range|Reference|Syntax|Type|URI)?Error|(?:Ui|I)nt(?:8|16|32)Array|Uint8ClampedArray|Float(?:32|64)Array|Buffer)\(/,
    /Buffer\.from\(/,
  ]
    .map((each) => each.source)
    .join('|'),
  'y',
);

/** The package of these that asks, by itself or through another; empty where none does. */
function asking(found) {
  for (const site of found) {
    const path = origin.file(site);
    // What loads a module does not evaluate for whoever wanted it.
    if (path.startsWith('node:internal/modules/')) return '';
    const kind = origin.kindOf(site);
    if (kind === origin.STANDARD || kind === origin.HOOK) continue;
    if (kind !== origin.LIBRARY) return '';
    const [, name] = KNOWN.exec(path) || [];
    if (name) return name;
  }
  return '';
}

/** Whether one of the texts that a package evaluates holds code, not values alone. */
function isCode(name, texts) {
  return texts.some((text) => typeof text === 'string' && !EVERYDAY.test(text) && (name !== OF_TEXT || !isOfValues(text)));
}

function isOfValues(text) {
  const data = text.replace(AROUND, '').replace(END, '');
  for (VALUE.lastIndex = 0; VALUE.lastIndex < data.length; ) if (!VALUE.test(data)) return false;
  return true;
}

module.exports = { asking, isCode };
