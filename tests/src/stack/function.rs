//! Functions as Lambda runs them: processes that are started when all others are busy, kept for the next call, and ended when a call takes
//! too long. It must not know what they do.

use super::Setting;
use super::runtime::{Invocation, RuntimeApi};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process died, or was ended since the call took too long.
    Died,
    /// The function reported an error.
    Failed(String),
}

/// The three functions.
pub struct Functions {
    /// `configure`
    pub configure: Arc<Function>,
    /// `plan`
    pub plan: Arc<Function>,
    /// `deliver`
    pub deliver: Arc<Function>,
    _runtime: tokio::runtime::Runtime,
}

impl Functions {
    pub(super) fn new(setting: &Setting, environment: Vec<(String, String)>, scratch: PathBuf) -> Functions {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let function = |name: &'static str, timeout| {
            let executable = setting.executables.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
            Arc::new(Function {
                name,
                executable,
                environment: environment.clone(),
                scratch: scratch.clone(),
                timeout,
                idle: Mutex::default(),
                busy: Mutex::default(),
                over: AtomicBool::new(false),
                calls: AtomicU64::new(0),
                died: AtomicU64::new(0),
                said: Arc::default(),
                runtime: runtime.handle().clone(),
            })
        };
        Functions {
            configure: function("configure", Duration::from_secs(60)),
            plan: function("plan", Duration::from_secs(900)),
            deliver: function("deliver", setting.deliver_timeout),
            _runtime: runtime,
        }
    }

    pub(super) fn end(&self) {
        for function in [&self.configure, &self.plan, &self.deliver] {
            function.end();
        }
    }
}

/// A function.
pub struct Function {
    name: &'static str,
    executable: PathBuf,
    environment: Vec<(String, String)>,
    scratch: PathBuf,
    timeout: Duration,
    idle: Mutex<Vec<Arc<Instance>>>,
    busy: Mutex<Vec<Arc<Instance>>>,
    over: AtomicBool,
    calls: AtomicU64,
    died: AtomicU64,
    said: Arc<Mutex<String>>,
    runtime: Handle,
}

/// A process of it.
struct Instance {
    child: Mutex<Child>,
    api: RuntimeApi,
}

impl Instance {
    fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }

    fn is_alive(&self) -> bool {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Function {
    /// Calls it and waits for its answer. A process that is not idle takes no call, so another one is started.
    ///
    /// # Errors
    /// [`Ended`]
    pub fn invoke(&self, event: &Value) -> Result<Value, Ended> {
        if self.over.load(Ordering::Relaxed) {
            return Err(Ended::Died);
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let instance = idle.filter(|instance| instance.is_alive()).unwrap_or_else(|| self.start());
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&instance));
        let result = self.call(&instance, event);
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &instance));
        match &result {
            Err(Ended::Died) => {
                self.died.fetch_add(1, Ordering::Relaxed);
                instance.kill();
            }
            _ => self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance),
        }
        result
    }

    fn call(&self, instance: &Instance, event: &Value) -> Result<Value, Ended> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let (reply, mut answer) = oneshot::channel();
        let invocation = Invocation {
            id: format!("{}-{number}", self.name),
            event: event.to_string().into_bytes(),
            deadline_ms: (now + self.timeout).as_millis() as u64,
            reply,
        };
        instance.api.events.send(invocation).map_err(|_| Ended::Died)?;
        let waiting = async {
            let end = tokio::time::Instant::now() + self.timeout;
            loop {
                tokio::select! {
                    answer = &mut answer => return answer.map_err(|_| Ended::Died)?.map_err(Ended::Failed),
                    () = tokio::time::sleep(Duration::from_millis(20)) => {
                        if !instance.is_alive() || self.over.load(Ordering::Relaxed) || tokio::time::Instant::now() >= end {
                            return Err(Ended::Died);
                        }
                    }
                }
            }
        };
        self.runtime.block_on(waiting)
    }

    fn start(&self) -> Arc<Instance> {
        let api = self.runtime.block_on(RuntimeApi::serve());
        let mut command = Command::new(&self.executable);
        // Nothing of the test's own environment: a function has what its template says.
        command.env_clear().envs(self.environment.iter().cloned());
        command.env("AWS_LAMBDA_RUNTIME_API", api.address.to_string()).env("AWS_LAMBDA_FUNCTION_NAME", self.name);
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        // Each process of a function has a disk of its own.
        let own = self.scratch.join(format!("{}-{}", self.name, api.address.port()));
        std::fs::create_dir_all(&own).expect("a folder for the function");
        command.env("PENSTOCK_SCRATCH", &own).env("TMPDIR", &own);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", self.executable.display()));
        let lines = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
        let (said, told) = (Arc::clone(&self.said), std::env::var_os("PENSTOCK_TELL").is_some());
        // It ends with the process.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if told {
                    println!("{line}");
                }
                *said.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{line}\n");
            }
        });
        Arc::new(Instance { child: Mutex::new(child), api })
    }

    /// Kills the processes that are at work, as a crash would. Gives how many there were.
    pub fn kill_busy(&self) -> usize {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.iter().for_each(|instance| instance.kill());
        busy.len()
    }

    /// Ends the processes that wait for a call: the next ones begin anew.
    pub fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|instance| instance.kill());
    }

    /// The most memory that any of the processes has ever held, MiB.
    pub fn peak_mib(&self) -> f64 {
        let peak = |instance: &Arc<Instance>| {
            let id = instance.child.lock().unwrap_or_else(PoisonError::into_inner).id();
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("VmHWM:")).and_then(|line| line.split_whitespace().nth(1));
            line.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        let all = [&self.idle, &self.busy].map(|instances| instances.lock().unwrap_or_else(PoisonError::into_inner).clone());
        all.iter().flatten().map(peak).fold(0.0, f64::max)
    }

    /// What its processes have written on standard output, as CloudWatch would keep it.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many calls ended with their process: it died, or its time was over.
    pub fn died(&self) -> u64 {
        self.died.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        for instances in [&self.idle, &self.busy] {
            instances.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|instance| instance.kill());
        }
    }
}
