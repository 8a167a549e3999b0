#!/bin/sh
# Builds ui/assets/editor.js from this folder: CodeMirror and our own files in one module. Needs Node.js and npm.
#   sh ui/assets/editor/build.sh
# The versions below are the ones that the committed bundle holds; editor.LICENSES.txt is written beside it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/*.js "$work"
cd "$work"
printf '{"private": true, "type": "module"}\n' > package.json
npm install --no-audit --no-fund --no-package-lock --silent \
  @codemirror/autocomplete@6.20.4 @codemirror/commands@6.11.1 @codemirror/lang-yaml@6.1.3 \
  @codemirror/language@6.13.1 @codemirror/lint@6.9.8 @codemirror/search@6.7.2 \
  @codemirror/state@6.7.6 @codemirror/view@6.43.15 @lezer/highlight@1.2.5 esbuild@0.28.2
npx esbuild main.js --bundle --format=esm --minify --target=es2022 --legal-comments=none --outfile="$here/../editor.js"
for package in node_modules/@codemirror/* node_modules/@lezer/* node_modules/@marijn/* node_modules/crelt \
  node_modules/style-mod node_modules/w3c-keyname; do
  name=${package#node_modules/}
  printf '%s %s\n' "$name" "$(node -p "require('./$package/package.json').version")"
done > names.txt
{
  echo "editor.js is our own ui/assets/editor/*.js (MIT, as this repository) bundled with these packages, all MIT:"
  echo
  cat names.txt
  echo
  cat node_modules/@codemirror/view/LICENSE
  for package in @lezer/common @marijn/find-cluster-break crelt style-mod w3c-keyname; do
    printf '\n%s:\n' "$package"
    grep -i '^Copyright' "node_modules/$package/LICENSE"
  done
} > "$here/../editor.LICENSES.txt"
