//! Keys and certificates of one cluster, made with openssl: one authority, everything signed by it. Who is granted what belongs to RBAC.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::{NODE, NODE_ADDRESS, run_to_end, second_node, write};

/// Name of the files, subject, and whether it serves.
const CERTIFICATES: &[(&str, &str)] = &[
    ("admin", "/O=system:masters/CN=e2e-admin"),
    ("controller-manager", "/CN=system:kube-controller-manager"),
    ("scheduler", "/CN=system:kube-scheduler"),
    ("proxy", "/CN=system:kube-proxy"),
];

/// The name the API server has before the servers it hands requests on to.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    authority(folder, "ca", "/CN=crossfade-e2e")?;
    // Of its own: whoever it signs for may say on whose behalf it asks.
    authority(folder, "front-proxy-ca", "/CN=crossfade-e2e-front-proxy")?;
    let names = format!(
        "subjectAltName=IP:127.0.0.1,IP:10.96.0.1,IP:{NODE_ADDRESS},DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
    );
    sign(
        folder,
        "ca",
        "apiserver",
        "/CN=kube-apiserver",
        Some(&names),
    )?;
    for (name, subject) in CERTIFICATES {
        sign(folder, "ca", name, subject, None)?;
    }
    for (name, node) in [("kubelet", NODE), (second_node::KUBELET, second_node::NODE)] {
        let subject = format!("/O=system:nodes/CN=system:node:{node}");
        sign(folder, "ca", name, &subject, None)?;
    }
    let subject = format!("/CN={FRONT_PROXY}");
    sign(folder, "front-proxy-ca", "front-proxy", &subject, None)?;
    key(folder, "service-accounts")?;
    openssl(
        folder,
        &[
            "pkey",
            "-in",
            "service-accounts.key",
            "-pubout",
            "-out",
            "service-accounts.pub",
        ],
    )
}

fn authority(folder: &Path, name: &str, subject: &str) -> anyhow::Result<()> {
    key(folder, name)?;
    let (private, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-new",
            "-key",
            &private,
            "-subj",
            subject,
            "-days",
            "3650",
            "-out",
            &certificate,
        ],
    )
}

fn key(folder: &Path, name: &str) -> anyhow::Result<()> {
    openssl(
        folder,
        &[
            "ecparam",
            "-genkey",
            "-name",
            "prime256v1",
            "-noout",
            "-out",
            &format!("{name}.key"),
        ],
    )
}

fn sign(
    folder: &Path,
    authority: &str,
    name: &str,
    subject: &str,
    names: Option<&str>,
) -> anyhow::Result<()> {
    key(folder, name)?;
    let (request, certificate, private) = (
        format!("{name}.csr"),
        format!("{name}.crt"),
        format!("{name}.key"),
    );
    openssl(
        folder,
        &[
            "req", "-new", "-key", &private, "-subj", subject, "-out", &request,
        ],
    )?;
    let extensions = format!(
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n{}\n",
        names.unwrap_or_default()
    );
    write(&folder.join(format!("{name}.ext")), &extensions)?;
    openssl(
        folder,
        &[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &format!("{authority}.crt"),
            "-CAkey",
            &format!("{authority}.key"),
            "-CAcreateserial",
            "-days",
            "3650",
            "-extfile",
            &format!("{name}.ext"),
            "-out",
            &certificate,
        ],
    )
}

fn openssl(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    run_to_end(Command::new("openssl").current_dir(folder).args(arguments))
        .with_context(|| format!("openssl {}", arguments.join(" ")))
}

pub(crate) fn kubeconfig(certificates: &Path, name: &str) -> String {
    let folder = certificates.display();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: e2e\n\
         clusters: [{{name: e2e, cluster: {{server: 'https://{NODE_ADDRESS}:6443', certificate-authority: '{folder}/ca.crt'}}}}]\n\
         users: [{{name: {name}, user: {{client-certificate: '{folder}/{name}.crt', client-key: '{folder}/{name}.key'}}}}]\n\
         contexts: [{{name: e2e, context: {{cluster: e2e, user: {name}}}}}]\n"
    )
}
