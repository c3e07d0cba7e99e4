"""The names that tools had in Archon before, each with the call that does the same now."""

from __future__ import annotations

FORMER = {
    "reconnect_session": "heartbeat() (a session outlives broken connections and restarts by itself)",
    "list_projects": "find_projects()",
    "get_project": 'find_projects(project_id="...")',
    "create_project": 'manage_project(action="create", title="...")',
    "update_project": 'manage_project(action="update", project_id="...", ...)',
    "delete_project": 'manage_project(action="delete", project_id="...")',
    "list_tasks": "find_tasks()",
    "get_task": 'find_tasks(task_id="...")',
    "create_task": 'manage_task(action="create", project_id="...", title="...")',
    "update_task": 'manage_task(action="update", task_id="...", ...)',
    "delete_task": 'manage_task(action="delete", task_id="...")',
    "list_documents": 'find_documents(project_id="...")',
    "get_document": 'find_documents(project_id="...", document_id="...")',
    "create_document": 'manage_document(action="create", title="...", document_type="...", ...)',
    "update_document": 'manage_document(action="update", project_id="...", document_id="...", ...)',
    "delete_document": 'manage_document(action="delete", project_id="...", document_id="...")',
    "list_versions": 'find_versions(project_id="...")',
    "get_version": 'find_versions(project_id="...", field_name="docs", version_number=1)',
    "create_version": 'manage_version(action="create", project_id="...", field_name="docs", ...)',
    "restore_version": 'manage_version(action="restore", field_name="docs", version_number=1, ...)',
    "get_knowledge_sources": 'get_linked_knowledge(knowledge_type="document", knowledge_id="...")',
    "suggest_knowledge": 'rag_search_knowledge_base(query="what the task is about")',
    "get_available_sources": "rag_get_available_sources()",
    "perform_rag_query": 'rag_search_knowledge_base(query="...")',
    "search_code_examples": 'rag_search_code_examples(query="...")',
}
