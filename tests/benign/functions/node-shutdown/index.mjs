// A handler of SIGTERM is called at the end of the environment, in whichever plane.

process.on("SIGTERM", (name) => {
  console.log(`handled ${name}`);
  process.exit(0);
});

export const handler = async () => "answered";
