// Packages that write code and evaluate it, with a policy that denies the evaluation of what came with the event: none of
// this did, though words of the event stand in some of it. They are loaded in the first invocation, as bundles do it.

const vm = require("node:vm");

const KINDS = ["text/html; charset=utf-8", "application/json; charset=utf-8"];

const packages = {
  global: () => Function("return this")() === globalThis,
  ajv() {
    const Ajv = require("ajv");
    const schema = {
      type: "object",
      properties: { kind: { enum: KINDS }, name: { type: "string", pattern: "^[A-Z](?:[a-z]|[ ()])+$" } },
      required: ["kind"],
    };
    const validate = new Ajv({ allErrors: true }).compile(schema);
    return (event) => [validate(event), validate({ name: "x" }), validate.errors.length];
  },
  depd: () => require("depd")("function").function((a, b) => a + b, "unused").length,
  ejs: () => require("ejs").compile("<%= name %>: <% for (const each of list) { %>(<%= each %>)<% } %>"),
  handlebars: () => require("handlebars").compile("{{#each list}}{{this}};{{/each}} {{name}}"),
  lodash: () => require("lodash").template("Dear <%- name %>, <% _.each(list, (each) => { %>(<%= each %>)<% }) %>"),
  protobufjs() {
    const { root } = require("protobufjs").parse('syntax = "proto3"; message Item { string name = 1; repeated int32 list = 2; }');
    const Item = root.lookupType("Item");
    return (event) => Item.decode(Item.encode(Item.create(event)).finish()).toJSON();
  },
  pug: () => require("pug").compile("p= name\nul\n  each item in list\n    li= item"),
  vm: () => new vm.Script("list.map((each) => each * 2).join()"),
};

const loaded = {};

exports.handler = async (event) => {
  const answers = {};
  for (const [name, load] of Object.entries(packages)) {
    loaded[name] ??= load();
    answers[name] = typeof loaded[name] === "function" ? loaded[name](event) : loaded[name];
  }
  answers.vm = loaded.vm.runInNewContext({ list: event.list });
  return answers;
};
